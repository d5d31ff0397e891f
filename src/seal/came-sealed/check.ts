/**
 * Mail that came sealed (A12): a script, or the browser behind it, encrypted it to its reader's certificate already. It may pass as it is
 * only where a rule says so, and where it is what it says: EnvelopedData or AuthEnvelopedData, for that reader, to its last octet.
 *
 * At DATA the start tells whom it is for; the rest is checked as it streams past. Memory does not grow with the message.
 */
import type { Certificate } from '../../certificates/certificate.ts';
import { SealpostError } from '../../errors.ts';
import { parseContentType } from '../../message/content-type.ts';
import { type Field, fieldText, type Message } from '../../message/header.ts';
import { makeBase64Decoder } from './base64.ts';
import { Fault, Feed } from './ber.ts';
import { readEnveloped } from './enveloped.ts';
import { makeReaders } from './readers.ts';

/** `isSealedFor`: one of these certificates is among those it names; others may be too, as in mail to several people. */
export interface SealedFor {
  isSealedFor(certificates: readonly Certificate[]): boolean;
}

/** `reason` is fixed text, for logs and replies. */
export type SealedVerdict = ({ readonly kind: 'sealed' } & SealedFor) | { readonly kind: 'not-sealed'; readonly reason: string };

/** Write the body of the message as it comes, then end, once. */
export interface SealedCheck {
  write(body: Buffer): void;
  end(): SealedVerdict;
}

/** What the look-ahead tells of a message; undefined where it does not say that it is sealed, or is not, as far as its start shows. */
export function sealedStart({ fields, lookAhead, whole }: Pick<Message, 'fields' | 'lookAhead' | 'whole'>): SealedFor | undefined {
  const check = new Check(fields);
  check.write(lookAhead);
  if (whole) {
    const verdict = check.end();
    return verdict.kind === 'sealed' ? verdict : undefined;
  }
  return check.sound ? check : undefined;
}

export const makeSealedCheck = (fields: readonly Field[]): SealedCheck => new Check(fields);

class Check implements SealedCheck, SealedFor {
  readonly #decoder = makeBase64Decoder();
  readonly #readers = makeReaders();
  readonly #feed = new Feed(readEnveloped(this.#readers));
  #reason: string | undefined;

  constructor(fields: readonly Field[]) {
    this.#reason = labelFault(fields);
  }

  get sound(): boolean {
    return this.#reason === undefined;
  }

  write(body: Buffer): void {
    if (this.#reason !== undefined) return;
    const octets = this.#decoder.push(body);
    if (octets === undefined) this.#reason = 'its body is not base64 to its end';
    else this.#reason = this.#fed(octets);
  }

  end(): SealedVerdict {
    if (this.#reason === undefined && !(this.#decoder.end() && this.#feed.done)) this.#reason = 'it ends too early';
    return this.#reason === undefined ? { kind: 'sealed', isSealedFor: (list) => this.isSealedFor(list) } : notSealed(this.#reason);
  }

  isSealedFor(certificates: readonly Certificate[]): boolean {
    return this.#readers.include(certificates);
  }

  /** The fault of what was read, if any. */
  #fed(octets: Buffer): string | undefined {
    try {
      this.#feed.push(octets);
      return undefined;
    } catch (error) {
      if (error instanceof Fault) return error.message;
      // Whom it is for is read by the reader of certificates, whose faults name places in them.
      if (error instanceof SealpostError) return 'what names its readers is malformed';
      throw error;
    }
  }
}

const notSealed = (reason: string): SealedVerdict => ({ kind: 'not-sealed', reason });

/** RFC 8551 §3.2, and the name that was in use before; its smime-type, where there is one, must be that of an encrypted message. */
const TYPES: ReadonlySet<string> = new Set(['application/pkcs7-mime', 'application/x-pkcs7-mime']);
const SMIME_TYPES: ReadonlySet<string> = new Set(['enveloped-data', 'authenveloped-data']);

/** What the header says must leave readers no choice: one Content-Type, one encoding. */
function labelFault(fields: readonly Field[]): string | undefined {
  const valuesOf = (key: string): string[] => fields.filter((field) => field.key === key).map(fieldText);
  const [types, encodings] = [valuesOf('content-type'), valuesOf('content-transfer-encoding')];
  const type = types.length === 1 ? parseContentType(types[0] ?? '') : undefined;
  if (type === undefined || !TYPES.has(type.type)) return 'its Content-Type is not that of a sealed message';
  const smimeType = type.parameters.get('smime-type')?.toLowerCase();
  if (smimeType !== undefined && !SMIME_TYPES.has(smimeType)) return 'its smime-type is not that of a sealed message';
  return encodings.length === 1 && encodings[0]?.toLowerCase() === 'base64' ? undefined : 'its Content-Transfer-Encoding is not base64';
}
