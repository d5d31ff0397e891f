/**
 * The message as it came in, put together again from what is shown outside and what stands inside: for the decision, and for whatever of
 * it must be sealed anew. Fields that the relay mended come back as they were mended.
 */
import { isDropped } from '../message/entity.ts';
import { type Field, type Message, readMessage } from '../message/header.ts';
import { isOuter } from '../message/outer.ts';
import type { Inside } from './inside.ts';

/**
 * `start`: the first octets of the inside. The body of the answer ends with them. Undefined where the site's signature is not around it:
 * the ciphertext fits its checksum, so a wrong key has made garbage of it.
 */
export async function originalOf(header: Buffer, start: Buffer, whole: boolean, { sign }: Inside): Promise<Message | undefined> {
  const entity = sign === null ? start : sign.form === 'detached' ? firstPart(start) : firstPieces(start);
  if (entity === undefined) return undefined;
  const inner = await readMessage(once(entity));
  return { ...(await withOuter(header, inner)), whole: whole && inner.whole };
}

/** The same of an inside that nobody of us signed, with all of its body, to be read once. */
export const wholeOriginal = async (header: Buffer, inside: AsyncIterable<Buffer>): Promise<Message> =>
  withOuter(header, await readMessage(inside));

/** What stands inside under a name is all of that name that came in; else what is shown outside is. */
async function withOuter(header: Buffer, inner: Message): Promise<Message> {
  // The stamp of the site's signature is no field of the message.
  const fields = inner.fields.filter(({ key }) => !isDropped(key));
  const inside = new Set(fields.map(({ key }) => key));
  const shown = await outerFields(header);
  return { ...inner, fields: [...shown.filter(({ key }) => key === 'received' || !inside.has(key)), ...fields] };
}

/** Those of the outer block, without what only says that it is sealed. */
export async function outerFields(header: Buffer): Promise<readonly Field[]> {
  const { fields } = await readMessage(once(header));
  return fields.filter(({ key }) => isOuter(key));
}

async function* once(octets: Buffer): AsyncGenerator<Buffer> {
  yield octets;
}

const EMPTY_LINE = '\r\n\r\n';

/** multipart/signed: behind its own header and one delimiter the entity stands as it was signed. */
function firstPart(start: Buffer): Buffer | undefined {
  const delimiter = start.indexOf(EMPTY_LINE, 0, 'latin1') + EMPTY_LINE.length;
  const end = start.indexOf('\r\n', delimiter, 'latin1');
  return delimiter < EMPTY_LINE.length || end < 0 ? undefined : start.subarray(end + 2);
}

const OCTET_STRING = 0x04;
const CONSTRUCTED = 0x20;
const INDEFINITE = 0x80;

/** SignedData around it (RFC 5652 §5.1): in base64, with the entity in OCTET STRINGs one behind the other. */
function firstPieces(start: Buffer): Buffer | undefined {
  const header = start.indexOf(EMPTY_LINE, 0, 'latin1');
  if (header < 0) return undefined;
  const text = start.toString('latin1', header + EMPTY_LINE.length).replaceAll('\r\n', '');
  const der = Buffer.from(text.slice(0, text.length - (text.length % 4)), 'base64');
  const pieces: Buffer[] = [];
  let at = 0;
  while (at + 2 <= der.length) {
    const [tag = 0, form = 0] = der.subarray(at, at + 2);
    if ((tag & CONSTRUCTED) !== 0 && form === INDEFINITE) {
      at += 2;
      continue;
    }
    const octets = form < 0x80 ? 0 : form & 0x7f;
    if (octets > 4 || at + 2 + octets > der.length) break;
    const length = octets === 0 ? form : der.readUIntBE(at + 2, octets);
    const from = at + 2 + octets;
    at = from + length;
    if (tag === OCTET_STRING) pieces.push(der.subarray(from, at));
    else if (pieces.length > 0) break; // behind the content
  }
  return pieces.length === 0 ? undefined : Buffer.concat(pieces);
}
