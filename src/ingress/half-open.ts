/**
 * A client may end its side of the connection behind its last octet (RFC 9293 §3.6) and still listen for replies: it must hear
 * the verdict on its message, or it hands it in again. Whether it listens or is gone altogether nobody can tell, but by answering.
 *
 * What came before the end is worked off as ever, one command after the other; when the last one has its reply, or at once where
 * nothing was pending, the connection is over.
 */
import type { Socket } from 'node:net';
import type { SmtpParser } from './unstuffing.ts';

/** smtp-server writes only to a socket that says `open`; one whose client has ended its side says `writeOnly`. */
export function stayAnswerable(socket: Socket): void {
  Object.defineProperty(socket, 'readyState', { configurable: true, get: () => (socket.writable ? 'open' : 'closed') });
}

/** `answered`: all that came has its reply. `broken-off`: what came ends in the middle of a message. */
export type Ending = 'answered' | 'broken-off';

/** Calls `then` once all is worked off that came before the end of what `parser` is fed with. */
export function onceWorkedOff(parser: SmtpParser, then: (ending: Ending) => void): void {
  parser.once('finish', () => then(parser._dataMode ? 'broken-off' : 'answered'));
}
