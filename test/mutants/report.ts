/** What came of the mutants, for people: the lines of a run, and docs/guards.md. */
import { promiseNames, promises } from './guard.ts';
import type { Finding } from './hunt.ts';

export function lineOf({ name, guard, verdict, seconds }: Finding): string {
  const of = `${guard.promise.padEnd(3)} ${name}`;
  switch (verdict.kind) {
    case 'caught':
      return `caught    ${of}: ${verdict.hung ? 'hangs in' : 'by'} "${verdict.by}", ${seconds} s`;
    case 'survived':
      return `SURVIVED  ${of}: ${verdict.ran} tests stay green; without it ${guard.without}`;
    case 'unproved':
      return `UNPROVED  ${of}: ${verdict.fault}`;
  }
}

/** The whole of it, a row for each guard. */
export function table(findings: readonly Finding[]): string {
  const widest = (list: readonly string[]): number => Math.max(...list.map((text) => text.length));
  const names = widest(findings.map(({ name }) => name));
  const files = widest(findings.map(({ guard }) => guard.file));
  return findings
    .map(({ name, guard: { promise, file }, verdict, seconds }) => {
      const noticed = verdict.kind === 'caught' ? `${verdict.hung ? 'hangs: ' : ''}${verdict.by}` : verdict.kind.toUpperCase();
      return `${promise.padEnd(4)}${name.padEnd(names + 2)}${file.padEnd(files + 2)}${String(seconds).padStart(6)} s  ${noticed}\n`;
    })
    .join('');
}

export const isCaught = ({ verdict }: Finding): boolean => verdict.kind === 'caught';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

const quoted = (code: string): string => `\`${cell(code)}\``;

/** docs/guards.md. `minutes`: what the tests took together, on `machine`. */
export function page(
  findings: readonly Finding[],
  { machine, minutes, date }: Readonly<Record<'machine' | 'minutes' | 'date', string>>,
): string {
  const caught = findings.filter(isCaught).length;
  const old = findings.filter(({ earlier }) => earlier === true).length;
  const since = old === 0 ? '' : `; ${old} findings, marked \\*, are of earlier runs, and their file or tests may have changed since`;
  const parts = promiseNames.map((promise) => {
    const rows = findings.filter(({ guard }) => guard.promise === promise).map(rowOf);
    return `## ${promise}: ${promises[promise]}\n\n| without it | file | name | noticed by | s |\n|---|---|---|---|---|\n${rows.join('\n')}\n`;
  });
  return `# Guards

<!-- Written by \`npm run mutants -- --report\`: run it again, do not edit this page. -->

A guard is the line of the program that keeps a promise. Here each was taken out of a copy of the program, one by one, and the tests were
run: where they stay green, nobody would notice the day the guard is lost. **${caught} of ${findings.length} were noticed** (${date}, ${machine},
${minutes} minutes of tests${since}). A letter with a number names the attack.

    npm run mutants                      all of them; fails where one is not noticed
    npm run mutants -- --only P3         those of one promise, or one by its name
    npm run mutants -- --keep FILE       goes on with what an earlier run wrote there
    npm run mutants -- --json            for machines
    npm run mutants -- --report          writes this page

It works in copies below the temporary folder and leaves the checkout alone. A mutant counts as noticed only where a test fails by what it
found: one that does not compile, a file that does not load, a test that is red with the guard in place prove nothing, and fail the run.
*Hangs* says that a test did not end in time. The guards stand in \`test/mutants/guards/\`: what is replaced, by what, and which tests should
notice.

${parts.join('\n')}`;
}

function rowOf({ name, guard, verdict, seconds, earlier }: Finding): string {
  const words = `${cell(guard.without)}${guard.attack === undefined ? '' : ` (${guard.attack})`}`;
  const noticed =
    verdict.kind === 'caught'
      ? `${verdict.hung ? 'hangs: ' : ''}${cell(verdict.by)}`
      : verdict.kind === 'survived'
        ? '**nobody**'
        : `**${cell(verdict.fault)}**`;
  return `| ${words} | ${quoted(guard.file)} | ${quoted(name)} | ${noticed} | ${seconds}${earlier === true ? ' \\*' : ''} |`;
}
