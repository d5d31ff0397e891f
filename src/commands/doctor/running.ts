/** The relay that runs here, asked over its control socket, and the process behind it. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { callControl } from '../../control.ts';
import { SealpostError } from '../../errors.ts';
import { dumpsCore } from '../sandbox/core-limit.ts';
import { fault, type Finding, ok, warning } from './finding.ts';

const reason = z.object({ code: z.string(), text: z.string(), mend: z.string() });
const standing = z.object({
  state: z.enum(['accepting', 'draining', 'stopped']),
  version: z.string(),
  pid: z.number().int().positive(),
  reasons: z.array(reason),
  notes: z.array(reason),
});

const ROOT = 0;

/** What of `doctor` asks a running relay. */
export async function inspectRunning(socket: string): Promise<Finding[]> {
  const check = 'relay';
  let answer: z.infer<typeof standing>;
  try {
    answer = standing.parse(await callControl(socket, { command: 'state' }));
  } catch (error) {
    if (error instanceof SealpostError && error.code === 'relay-not-running') return [warning(check, 'no relay runs here', error.hint)];
    if (error instanceof SealpostError && error.code === 'usage')
      return [warning(check, 'the relay that runs is of an older release', 'restart it')];
    throw error;
  }
  const { state, version, pid, reasons, notes } = answer;
  const found = reasons.map(({ code, text, mend }) => fault(check, `${state}: ${text} (${code})`, mend));
  if (found.length === 0) found.push(ok(check, `accepting mail, release ${version}, process ${pid}`));
  return [...found, ...notes.map(({ code, text, mend }) => warning(check, `${text} (${code})`, mend)), ...(await inspectProcess(pid))];
}

/** From /proc; nothing where there is none, or where it is another user's. */
async function inspectProcess(pid: number): Promise<Finding[]> {
  const check = 'process';
  const read = (name: string): Promise<string> => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '');
  const [limits, status, line] = await Promise.all([read('limits'), read('status'), read('cmdline')]);
  if (status === '') return [];
  const found: Finding[] = [];
  if (dumpsCore(limits) === true)
    found.push(warning(check, 'a crash would write its memory to the disk', 'LimitCORE=0 in its unit, or ulimit -c 0 in front of it'));
  if (Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1]) === ROOT)
    found.push(warning(check, 'it runs as root', 'a user of its own, as docs/operations.md has it'));
  if (!line.split('\0').includes('--permission'))
    found.push(warning(check, 'it runs without its sandbox', 'start it by sealpost serve, without options of Node that turn it off'));
  return found.length > 0 ? found : [ok(check, 'a user of its own, sandbox on, no core dumps')];
}
