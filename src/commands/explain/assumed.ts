/** What `explain` and `policies test` are told of a message that need not be there: some of its header, or all of it from a file. */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { Question } from '../../path/decision.ts';
import { SealpostError } from '../../errors.ts';
import { systemCode, unreadable } from '../../document/yaml.ts';
import type { Mailbox } from '../../message/envelope.ts';
import { type ContentFacts, contentFacts } from '../../message/facts.ts';
import { readMessage } from '../../message/header.ts';
import { sealedStart } from '../../seal/came-sealed/check.ts';

/** Undefined where nothing is said of it. */
export interface Told {
  readonly subject?: string | undefined;
  readonly headerFrom?: string | undefined;
  /** `Name: value` */
  readonly headers?: readonly string[] | undefined;
  /** The path of a message; stands for all the others. */
  readonly message?: string | undefined;
}

/** `size`: octets as a client would declare them; null where there is no whole message. */
export interface Assumed {
  readonly content: ContentFacts;
  readonly isSealedFor?: Question['isSealedFor'];
  readonly size: number | null;
  /** What was put in where nothing was said. */
  readonly notes: readonly string[];
}

/** Undefined where nothing is told: what is known at RCPT, then. Throws `usage`, or `file-unreadable`. */
export async function assume(told: Told, sender: Mailbox | null): Promise<Assumed | undefined> {
  const { subject, headerFrom, headers, message } = told;
  if (message !== undefined) return fromFile(message);
  if (subject === undefined && headerFrom === undefined && headers === undefined) return undefined;
  const from = headerFrom ?? sender?.address;
  const written = [
    ...(from === undefined ? [] : [`From: ${from}`]),
    ...(subject === undefined ? [] : [`Subject: ${subject}`]),
    ...(headers ?? []),
  ];
  for (const line of written) assertField(line);
  const text = `${written.map((line) => `${line}\r\n`).join('')}\r\n`;
  const notes = [
    ...(headerFrom === undefined && from !== undefined ? [`From: ${from}`] : []),
    ...(subject === undefined ? ['no Subject'] : []),
    'a text that is neither signed nor sealed: --message FILE tells it of a real one',
  ];
  return { content: contentFacts(await readMessage(Readable.from([Buffer.from(text)]))), size: null, notes };
}

async function fromFile(file: string): Promise<Assumed> {
  const octets = await readOctets(file);
  const message = await readMessage(Readable.from([octets]));
  // As a client sends it: every line end is CRLF.
  let bare = 0;
  for (let at = octets.indexOf(LF); at >= 0; at = octets.indexOf(LF, at + 1)) if (octets[at - 1] !== CR) bare++;
  const content = contentFacts(message);
  const start = content.claimsSealed ? sealedStart(message) : undefined;
  return { content, isSealedFor: start?.isSealedFor.bind(start), size: octets.length + bare, notes: [] };
}

const LF = 0x0a;
const CR = 0x0d;

async function readOctets(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw unreadable(file, error, systemCode(error) === 'ENOENT' ? 'the path of a message, as a script would send it' : undefined);
  }
}

/** One field in one line: what would begin another field, or end the header, is no value of this one. */
function assertField(line: string): void {
  if (/^[\x21-\x39\x3b-\x7e]+:[^\p{Cc}\p{Zl}\p{Zp}]*$/u.test(line.replaceAll('\t', ' '))) return;
  throw new SealpostError('usage', { detail: `${JSON.stringify(line)} is no header field`, hint: "write it as --header 'X-Form: intake'" });
}
