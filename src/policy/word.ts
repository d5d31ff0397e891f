import type { z } from 'zod';
import { leaf, type Judgement } from '../document/schema.ts';
import { nearest } from '../document/nearest.ts';

/** One of a few words; what is near one of them is told so. */
export function word<const Word extends string>(...words: readonly Word[]): z.ZodType<Word> {
  return leaf((written): Judgement<Word> => {
    const known = words.find((word) => word === written);
    if (known !== undefined) return { kind: 'value', value: known };
    const like = typeof written === 'string' ? nearest(written, words) : undefined;
    return { kind: 'wrong', wrong: 'is not known', mend: like === undefined ? `there are: ${words.join(', ')}` : `did you mean ${like}?` };
  });
}
