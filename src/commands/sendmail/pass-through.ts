/**
 * -bs: octets both ways. The connection stays open when standard input ends, since scripts end it right behind their last line and
 * the replies are still to come: a client that closes would never hear that the relay has its message.
 */
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SealpostError } from '../../errors.ts';
import { ReplyReader } from '../../delivery/reply.ts';
import type { Place } from './listener.ts';
import { dial } from './submission.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
/** Of silence behind the end of the input. Its last line is whole: an answer comes, and may wait for the disk. */
const ANSWER_MS = 10 * MINUTE;
/** It breaks off within a message or a line: nothing more is to come. */
const BROKEN_OFF_MS = 10 * SECOND;
/** As many octets of the input's end as tell which line is the last. */
const TAIL = 16;

const START_MESSAGE = 354;
const CLOSING = 221;

/** Until the relay closes. Throws `relay-unreachable` where it left a message without its reply, or did not say 221. */
export async function passThrough(place: Place, stdin: Readable, stdout: Writable): Promise<void> {
  const socket = await dial(place);
  const replies = new ReplyReader();
  let last: number | undefined;
  const overheard = async function* (octets: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of octets) {
      for (const { code } of replies.push(chunk)) last = code;
      yield chunk;
    }
  };
  const spoken = async function* (octets: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let tail = '\n';
    for await (const chunk of octets) {
      tail = (tail + chunk.toString('latin1', Math.max(0, chunk.length - TAIL))).slice(-TAIL);
      yield chunk;
    }
    const { ms, more } = endOf(tail);
    socket.setTimeout(ms, () => socket.destroy(new Error('the relay says no more')));
    if (more !== '') yield Buffer.from(more);
  };
  const sent = pipeline(stdin, spoken, socket, { end: false });
  // Reported below, by what the relay did not say.
  sent.catch(() => undefined);
  try {
    await pipeline(socket, overheard, stdout, { end: false });
  } catch (cause) {
    throw ended(last, cause);
  } finally {
    // The relay has closed: what the caller still writes has no reader.
    stdin.destroy();
    await sent.catch(() => undefined);
  }
  if (last !== CLOSING) throw ended(last);
}

/** How long the relay is waited for, and what is said for a script that forgot it. A line that is cut off stays so: it may be a dot. */
function endOf(tail: string): { readonly ms: number; readonly more: string } {
  if (/\nQUIT[ \t]*\r?\n$/i.test(tail)) return { ms: ANSWER_MS, more: '' };
  return { ms: tail.endsWith('\r\n.\r\n') ? ANSWER_MS : BROKEN_OFF_MS, more: tail.endsWith('\n') ? 'QUIT\r\n' : '' };
}

function ended(last: number | undefined, cause?: unknown): SealpostError {
  return last === START_MESSAGE
    ? new SealpostError('relay-unreachable', {
        detail: 'no reply behind the message',
        hint: 'a message ends with CRLF.CRLF; where it did, the relay may have it: sealpost audit show',
        cause,
      })
    : new SealpostError('relay-unreachable', {
        detail: 'the conversation ended without 221',
        hint: 'what was answered 250 behind DATA is with the relay, nothing else',
        cause,
      });
}
