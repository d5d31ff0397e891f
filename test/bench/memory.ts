/** Memory over idle of a running process, from /proc: Linux only. */
import { readFile, writeFile } from 'node:fs/promises';

const MIB = 1024;
/** Writing this to clear_refs sets VmHWM back to what is resident now (proc(5)). */
const RESET_PEAK = '5';
/** After these a process has its code compiled, its pools filled and its connections open: that is idle. */
const WARM_UPS = 10;

export interface MemoryFigure {
  /** Resident after the warm-ups, MiB. */
  readonly idle: number;
  /** The most that was resident during the load, MiB. */
  readonly peak: number;
  readonly overIdle: number;
}

/** The resident set of a process in MiB: now (`VmRSS`) or at most since the last reset (`VmHWM`). */
export async function residentMiB(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
  return Number(kib) / MIB;
}

/** Runs `warmUp` ten times, one after the other, then `load` once; both resolve when the process has done the work. */
export async function measureMemory(pid: number, warmUp: () => Promise<unknown>, load: () => Promise<unknown>): Promise<MemoryFigure> {
  for (let count = 0; count < WARM_UPS; count++) await warmUp();
  const idle = await residentMiB(pid, 'VmRSS');
  await writeFile(`/proc/${pid}/clear_refs`, RESET_PEAK);
  await load();
  const peak = await residentMiB(pid, 'VmHWM');
  return { idle, peak, overIdle: peak - idle };
}
