/** docs/reliability.md: the newest figures, how they were come by, and what they cannot show. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { resolve } from 'node:path';
import process from 'node:process';
import { type Figures, type Summary, summarize } from './figures.ts';

const docs = resolve(import.meta.dirname, '../../../docs');
const GIB = 1024 ** 3;

/** What each part did, for people. */
const MEANS: Readonly<Record<string, string>> = {
  kill: 'The relay under a load that it seals, holds, passes, refuses, releases, delivers and defers, ended by SIGKILL at a random moment: while it starts, takes mail, delivers, releases. The upstream puts off, refuses and cuts off mail at random, on either side of taking it.',
  sweep:
    'A system call of the relay, under strace, ends it or fails: the first of a life, then the second, and so on, until a life comes to no such call any more. A failed write or sync must be answered 4yz.',
  power:
    'The data folder is an ext4 file system of its own. Under load, at a random moment, the relay is stopped and the disk is copied: without what the kernel had not written to it yet. A relay is started on the copy, whose journal is replayed by the mount. The same run with a relay whose syncs do nothing finds losses (a test of the suite).',
  soak: 'One relay that is well, and many messages of 500 octets to 250 KB. Flat means: the slope over the second half adds less than a tenth to memory, and fewer than ten descriptors.',
};

/** What the page keeps of one part: its newest run. */
interface Kept {
  readonly summary: Summary;
  readonly notes: readonly string[];
  readonly plot?: string;
  readonly command: string;
  readonly date: string;
  readonly machine: string;
}

const kept = resolve(docs, 'reliability.json');

/** The parts of this run take the places of earlier runs of the same parts; the others stay as they are. */
export async function writeReport(figures: readonly Figures[], args: readonly string[]): Promise<void> {
  for (const { plot } of figures) if (plot !== undefined) await writeFile(resolve(docs, plot.name), plot.svg);
  const machine = `${cpus().length} cores, ${Math.round(totalmem() / GIB)} GiB of memory, ${process.platform}, Node ${process.version}`;
  const about = { command: `npm run test:faults -- ${args.join(' ')}`, date: new Date().toISOString().slice(0, 10), machine };
  const before: Readonly<Record<string, Kept>> = existsSync(kept) ? JSON.parse(await readFile(kept, 'utf8')) : {};
  const now = figures.map((one): [string, Kept] => [
    one.part,
    { summary: summarize(one), notes: one.notes, ...(one.plot === undefined ? {} : { plot: one.plot.name }), ...about },
  ]);
  const parts = { ...before, ...Object.fromEntries(now) };
  await writeFile(kept, `${JSON.stringify(parts, null, 2)}\n`);
  await writeFile(resolve(docs, 'reliability.md'), reportOf(Object.values(parts)));
}

export function reportOf(runs: readonly Kept[]): string {
  const summaries = runs.map(({ summary }) => summary);
  const rows: readonly (readonly [string, (one: Summary) => string | number])[] = [
    ['tried', (one) => `${one.times} ${one.what}`],
    ['minutes', ({ seconds }) => (seconds / 60).toFixed(1)],
    ['messages that got a 250', ({ messages }) => messages],
    ['their recipients', ({ recipients }) => recipients],
    ['delivered', ({ delivered }) => delivered],
    ['bounced', ({ bounced }) => bounced],
    ['removed', ({ removed }) => removed],
    ['held', ({ held }) => held],
    ['damaged', ({ damaged }) => damaged],
    ['**lost**', ({ lost }) => `**${lost}**`],
    ['twice at the upstream', ({ duplicated }) => duplicated],
    ['of these not told as `ambiguous`', ({ faults }) => faults.filter((fault) => fault.startsWith('unexplained')).length],
    ['`ambiguous` in the audit log', ({ ambiguous }) => ambiguous],
    ['opened with the key of the reader', ({ opened }) => opened],
    ['**found in clear**', ({ inClear }) => `**${inClear}**`],
  ];
  const table = [
    `| | ${summaries.map(({ part }) => part).join(' | ')} |`,
    `|---|${summaries.map(() => '---').join('|')}|`,
    ...rows.map(([name, of]) => `| ${name} | ${summaries.map(of).join(' | ')} |`),
  ];
  const parts = runs.flatMap(({ summary: { part }, notes, plot, command, date, machine }) => [
    `**${part}.** ${MEANS[part] ?? ''}`,
    '',
    `- \`${command}\`, ${date}: ${machine}`,
    ...notes.map((note) => `- ${note}`),
    '',
    ...(plot === undefined ? [] : [`![memory, descriptors and write-ahead log over the time of the run](${plot})`, '']),
  ]);
  return [
    '# Reliability',
    '',
    'What the relay was put through, and what became of the mail: the newest run of each part, written by the run itself, by',
    '`npm run test:faults -- --report`.',
    '',
    ...table,
    '',
    'Each message has a word of its own in its body, its Subject and the name of its attachment. Afterwards the queue, the audit log and the',
    'upstream are held to each other: every recipient of a message that got a 250 is in exactly one of delivered, bounced, removed, held,',
    'damaged; what the upstream has twice has an `ambiguous` event; all copies of one are the same octets; what came opens with the key of',
    'its reader and is whole; the audit log fits its chain. The folder of the site, its temporary files and the log are searched for the',
    'words, in plain, base64, quoted-printable, hex and UTF-16.',
    '',
    '## The parts',
    '',
    ...parts,
    '## What this does not show',
    '',
    'A kill ends the process and leaves the kernel: what was written and not synced is still there afterwards. Only the cuts of the power show',
    'whether it was synced, and of them a copy holds all that the disk was given: a disk that confirms a sync and then loses its own cache, or',
    'writes in another order than it was told, is not tried. Nor is any file system but ext4.',
    '',
  ].join('\n');
}
