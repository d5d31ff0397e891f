/**
 * Strangers that open our mail: OpenSSL, BouncyCastle, NSS and gpgsm, each behind one function. None shares a line of code with
 * the relay, and none with another. What a program refuses is an Error with the program's own complaint.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Reader, type Readers, writePkcs12 } from './fixtures.ts';
import { missingPrograms, run, succeed } from './programs.ts';

export interface MailProgram {
  readonly name: string;
  /** `message` is a whole MIME message whose root is the p7m; resolves with the inner entity, octet for octet. */
  open(message: Buffer, reader: Reader): Promise<Buffer>;
  /** Ends what was started and removes what was written. */
  close(): Promise<void>;
}

/** How a program is had: `missing` is the text of a skip, `start` may write into a temporary folder of its own. */
export interface MailProgramKind {
  readonly name: string;
  missing(): string | undefined;
  start(readers: Readers): Promise<MailProgram>;
}

/** The DER inside a message of one base64 entity, for the programs that read no MIME. Strict: no octet outside the alphabet. */
export function cmsOf(message: Buffer): Buffer {
  const text = message.toString('latin1');
  const end = /\r?\n\r?\n/.exec(text);
  if (end === null) throw new Error('the message has no body');
  const body = text.slice(end.index + end[0].length).replaceAll(/\r?\n/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(body) || body.length % 4 !== 0) throw new Error('the body is not base64');
  return Buffer.from(body, 'base64');
}

/** OpenSSL reads the MIME form itself. A wrong key is an error and not random octets, since the recipient is named by -recip. */
export const openssl: MailProgramKind = {
  name: 'openssl',
  missing: () => missingPrograms({ openssl: 'openssl' }),
  start: async () => ({
    name: 'openssl',
    open(message, reader) {
      const decrypt = ['cms', '-decrypt', '-binary', '-inform', 'SMIME', '-recip', reader.certificate, '-inkey', reader.key];
      return succeed('openssl', decrypt, { input: message });
    },
    close: async () => undefined,
  }),
};

/** NSS, the library of Thunderbird: its own database, filled from the PKCS#12 files. */
export const nss: MailProgramKind = {
  name: 'NSS',
  missing: () => missingPrograms({ cmsutil: 'libnss3-tools', certutil: 'libnss3-tools', pk12util: 'libnss3-tools' }),
  async start(readers) {
    const dir = await mkdtemp(join(tmpdir(), 'nss-'));
    const database = ['-d', `sql:${dir}`];
    await succeed('certutil', ['-N', ...database, '--empty-password']);
    await succeed('certutil', ['-A', ...database, '-n', 'ca', '-t', 'CT,CT,CT', '-i', readers.ca]);
    for (const reader of Object.values(readers.people)) {
      if (reader.p12 !== undefined) await succeed('pk12util', ['-i', reader.p12, ...database, '-W', readers.passphrase, '-K', '']);
    }
    let count = 0;
    return {
      name: 'NSS',
      async open(message) {
        const number = ++count;
        const [input, output] = [join(dir, `${number}.p7m`), join(dir, `${number}.out`)];
        await writeFile(input, cmsOf(message));
        await succeed('cmsutil', ['-D', ...database, '-i', input, '-o', output]);
        return await readFile(output);
      },
      close: () => rm(dir, { recursive: true, force: true }),
    };
  },
};

const IMPORT_ATTEMPTS = 5;

/** gpgsm with a keyring and an agent of its own. */
export const gpgsm: MailProgramKind = {
  name: 'gpgsm',
  missing: () => missingPrograms({ gpgsm: 'gpgsm', 'gpg-agent': 'gpg-agent', gpgconf: 'gpgconf' }),
  async start(readers) {
    // The agent's socket lives in here and its path has 108 octets at most (sun_path): the folder must be a short one.
    const home = await mkdtemp(join(tmpdir(), 'g-'));
    const options = { env: { GNUPGHOME: home } };
    const base = ['--batch', '--no-tty', '--disable-crl-checks', '--pinentry-mode', 'loopback', '--passphrase-fd', '0'];
    const passphrase = Buffer.from(`${readers.passphrase}\n`);
    // Without a count the agent makes each opening of the key take a tenth of a second on purpose.
    await writeFile(join(home, 'gpg-agent.conf'), 'allow-loopback-pinentry\ns2k-count 65536\n');
    const close = async (): Promise<void> => {
      await succeed('gpgconf', ['--kill', 'all'], options);
      await rm(home, { recursive: true, force: true });
    };
    try {
      for (const reader of Object.values(readers.people)) {
        if (reader.p12 === undefined) continue;
        // gpgsm 2.2.40 derives a wrong key where a block I_j of RFC 7292 appendix B.2 step 6C begins with a zero octet,
        // which about one file in fifty meets: another salt, the same key.
        for (let attempt = 1; ; attempt++) {
          const imported = await run('gpgsm', [...base, '--import', reader.p12], { ...options, input: passphrase });
          if (imported.code === 0) break;
          if (attempt === IMPORT_ATTEMPTS) throw new Error(`gpgsm does not import ${reader.name}: ${imported.stderr}`);
          await writePkcs12(reader, reader.p12, readers);
        }
      }
    } catch (error) {
      await close();
      throw error;
    }
    let count = 0;
    return {
      name: 'gpgsm',
      async open(message) {
        const input = join(home, `${++count}.p7m`);
        await writeFile(input, cmsOf(message));
        return await succeed('gpgsm', [...base, '--decrypt', input], { ...options, input: passphrase });
      },
      close,
    };
  },
};

export interface RecipientName {
  readonly type: 'ktri' | 'kari';
  /** As openssl prints it: RFC 2253-like, most specific last. */
  readonly issuer: string;
  /** Upper-case hex, without leading zeros, as `serialNumberOf` gives it. */
  readonly serial: string;
}

/** The serial number of a certificate file, in the form of RecipientName. */
export async function serialNumberOf(certificate: string): Promise<string> {
  const line = (await succeed('openssl', ['x509', '-noout', '-serial', '-in', certificate])).toString('latin1').trim();
  return BigInt(line.replace('serial=', '0x')).toString(16).toUpperCase();
}

/** Every reader that the message's RecipientInfos name, by `openssl cms -cmsout -print`. A name by key identifier is an error. */
export async function recipientInfos(message: Buffer): Promise<readonly RecipientName[]> {
  const text = (await succeed('openssl', ['cms', '-cmsout', '-print', '-noout', '-inform', 'SMIME'], { input: message })).toString('utf8');
  const infos = /^ {4}recipientInfos:(.*?)^ {4}(?:e|authE)ncryptedContentInfo:/ms.exec(text)?.[1];
  if (infos === undefined) throw new Error('openssl printed no recipientInfos');
  if (/subjectKeyIdentifier|rKeyId/.test(infos)) throw new Error('a reader is named by key identifier');
  const names: RecipientName[] = [];
  let type: RecipientName['type'] = 'ktri';
  let issuer = '';
  for (const line of infos.split('\n')) {
    const kind = /^\s+d\.(ktri|kari):/.exec(line)?.[1];
    if (kind === 'ktri' || kind === 'kari') type = kind;
    issuer = /^\s+issuer:\s*(.*)$/.exec(line)?.[1] ?? issuer;
    // openssl prints up to 128 bits in decimal and more of them as 0x…
    const serial = /^\s+serialNumber:\s*(0x[0-9A-Fa-f]+|\d+)\s*$/.exec(line)?.[1];
    if (serial !== undefined) names.push({ type, issuer, serial: BigInt(serial).toString(16).toUpperCase() });
  }
  return names;
}
