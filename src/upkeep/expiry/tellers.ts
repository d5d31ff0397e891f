/** What the summary says of the work of others: harvested certificates that wait, tries without an answer, lists that are not renewed. */
import { dirname, join } from 'node:path';
import { day } from '../../certificates/usability.ts';
import type { Config } from '../../config.ts';
import type { RecordStore } from '../../queue/records.ts';
import { ISSUING_LIST, listAt, ownLists, ROOT_LIST } from '../crl-writing.ts';
import { KIND as HARVESTED, readRecord } from '../harvested-record.ts';
import { readTry, TRY } from '../tries.ts';
import type { Item } from './words.ts';

/** They are renewed at half of their life, which is 3 days at least: one that has come so far is not renewed any more. */
const LIST_MS = 86_400_000;

export const makeTellers = (
  config: { readonly queue: Pick<Config['queue'], 'sqlite'> },
  records: Pick<RecordStore, 'list'>,
  now: () => number,
): readonly (() => Promise<readonly Item[]>)[] => [
  async () =>
    (await records.list(HARVESTED)).flatMap((stored): Item[] => {
      const record = readRecord(stored);
      if (record === undefined) return [];
      const { address, certificate } = record;
      const line = `${address}  SHA-256 ${certificate.fingerprint.slice(0, 16)}  from signed mail`;
      return [{ key: `harvested ${certificate.fingerprint} ${address}`, section: 'waiting', line }];
    }),
  async () =>
    (await records.list(TRY)).flatMap((stored): Item[] => {
      const record = readTry(stored.value);
      if (record === undefined || record.code === null) return [];
      return [
        { key: `tried ${stored.key} ${record.sentAt}`, section: 'tried', line: `${stored.key}  since ${day(new Date(record.sentAt))}` },
      ];
    }),
  async () => {
    const items: Item[] = [];
    for (const name of [ISSUING_LIST, ROOT_LIST]) {
      const list = await listAt(join(ownLists(dirname(config.queue.sqlite)), name));
      if (list === undefined || list.facts.nextUpdate - now() > LIST_MS) continue;
      const end = day(new Date(list.facts.nextUpdate));
      items.push({ key: `list ${name} ${end}`, section: 'lists', line: `${name}, to ${end}: the log says why it is not renewed` });
    }
    return items;
  },
];
