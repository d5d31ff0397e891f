/** For `check`: addresses that rules archive to, of which no certificate is found. */
import type { AddressBook } from '../../certificates/address-book.ts';
import { foreseeArchive } from '../../path/plan.ts';
import type { Rule } from '../../policy/decide.ts';

/** One note for each rule whose copy cannot be sealed now. */
export async function noteArchives(book: AddressBook, rules: readonly Rule[]): Promise<string[]> {
  const notes: string[] = [];
  // One at a time: their sources are other people's servers.
  for (const rule of rules) {
    if (rule.archive === undefined) continue;
    const fate = await foreseeArchive(book, rule, rule.archive);
    if (fate.kind === 'seal') continue;
    const place = rule.place === undefined ? '' : `${rule.place}: `;
    const why = fate.because === 'missing' ? 'has no usable certificate' : 'cannot be looked up now';
    const then = fate.kind === 'hold' ? 'its copies are held' : 'mail of this rule is refused for the time being (451)';
    notes.push(`${place}the rule ${rule.name} archives to ${rule.archive.address}, which ${why}: ${then}`);
  }
  return notes;
}
