/** Messages that came sealed, or say so, made by openssl; and the message around any octets. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseCertificate, type Certificate } from '../../../src/certificates/certificate.ts';
import { type Message, readMessage } from '../../../src/message/header.ts';
import { ec, make, rsa, run } from '../../certificates/openssl.ts';

export const PLAIN = 'Content-Type: text/plain\r\n\r\nThe diagnosis of this patient is written here, line after line.\r\n';

export interface Made {
  readonly folder: string;
  readonly people: Readonly<Record<'anna' | 'ben' | 'otto', Certificate>>;
  /** The DER, or BER, of `openssl cms` with these arguments over `plain`. */
  cms(args: readonly string[], plain?: string): Buffer;
  remove(): void;
}

/** `anna` and `ben` have RSA keys, `otto` an EC key; all have a subject key identifier. */
export function makePeople(): Made {
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-came-'));
  const extensions = ['subjectKeyIdentifier=hash', 'subjectAltName=email:x@clinic.example'];
  const person = (name: string, key: readonly string[]): Certificate => parseCertificate(make(folder, { name, key, extensions }));
  return {
    folder,
    people: { anna: person('anna', rsa(2048)), ben: person('ben', rsa(2048)), otto: person('otto', ec()) },
    cms(args, plain = PLAIN) {
      writeFileSync(join(folder, 'plain'), plain);
      run('openssl', ['cms', ...args.slice(0, 1), '-binary', '-in', 'plain', '-outform', 'DER', '-out', 'out', ...args.slice(1)], folder);
      return readFileSync(join(folder, 'out'));
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export const LABEL =
  'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n';

/** In base64 lines of `width`. */
export function wrapped(octets: Buffer, width = 64): Buffer {
  const lines = octets.toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? [];
  return Buffer.from(lines.map((line) => `${line}\r\n`).join(''));
}

export function messageOf(body: Buffer, label = LABEL): Promise<Message> {
  const source = Buffer.concat([Buffer.from(`From: a@clinic.example\r\nSubject: s\r\n${label}\r\n`), body]);
  return readMessage(
    (async function* pieces() {
      for (let at = 0; at < source.length; at += 30_000) yield source.subarray(at, at + 30_000);
    })(),
  );
}
