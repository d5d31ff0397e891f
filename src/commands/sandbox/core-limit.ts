/** Whether the kernel would write the memory of a process into a core file, by what /proc/PID/limits says of it. */

/** It writes no dump below a page; a limit of one octet is what the relay gives itself (enter.ts). */
const PAGE = 4096;

/** Undefined where the text does not say. */
export function dumpsCore(limits: string): boolean | undefined {
  const soft = /^Max core file size\s+(\S+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : soft === 'unlimited' || Number(soft) >= PAGE;
}
