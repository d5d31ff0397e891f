/** What a check of `doctor` says: one line each, with the mend where something is to be done. */
export interface Finding {
  /** `relay`, `queue`, `upstream[0]`: what `--json` has as well. */
  readonly check: string;
  readonly verdict: 'ok' | 'warning' | 'fault';
  readonly text: string;
  /** Where it is not ok. */
  readonly mend?: string;
}

export interface Check {
  readonly name: string;
  /** What it throws becomes a fault, and so does taking too long. */
  readonly look: () => Promise<readonly Finding[]>;
}

export const ok = (check: string, text: string): Finding => ({ check, verdict: 'ok', text });
export const warning = (check: string, text: string, mend: string): Finding => ({ check, verdict: 'warning', text, mend });
export const fault = (check: string, text: string, mend: string): Finding => ({ check, verdict: 'fault', text, mend });
