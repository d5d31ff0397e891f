/** What the sender asked to be told (RFC 3461), handed on to an upstream that offers DSN; nothing is said where nothing was asked. */
import type { Notify } from '../message/envelope.ts';
import { notifyText } from '../message/notify.ts';

/** As it was sent, xtext left in it. */
export interface Asked {
  readonly envid: string | null;
  readonly notify: Notify;
  readonly orcpt: string | null;
}

export const DSN = 'DSN';

/** Behind MAIL FROM:<…>. RET is HDRS whatever the client said: what comes back holds no content. */
export function mailParameters({ envid, notify, orcpt }: Asked): string {
  if (envid === null && notify === null && orcpt === null) return '';
  return ` RET=HDRS${envid === null ? '' : ` ENVID=${envid}`}`;
}

/** Behind RCPT TO:<…>. */
export function rcptParameters({ notify, orcpt }: Asked): string {
  const conditions = notifyText(notify);
  return (conditions === null ? '' : ` NOTIFY=${conditions}`) + (orcpt === null ? '' : ` ORCPT=${orcpt}`);
}
