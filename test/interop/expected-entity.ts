/** What must be inside the seal, computed by expected-entity.pl, which shares nothing with the relay. */
import { missingPrograms, succeed } from './programs.ts';

const SCRIPT = new URL('expected-entity.pl', import.meta.url).pathname;

export const missingPerl = (): string | undefined => missingPrograms({ perl: 'perl' });

/** The exact octets of the inner entity of a client stream; `from` goes for Message-ID too. Rejects where the rules say nothing on the stream. */
export function expectedEntity(stream: Buffer, subject: 'keep' | 'replace', from: 'keep' | 'replace' = 'keep'): Promise<Buffer> {
  return succeed('perl', [SCRIPT, '--subject', subject, '--from', from, '--message-id', from], { input: stream });
}
