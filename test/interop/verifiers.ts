/** Strangers that verify our signatures: OpenSSL, NSS and gpgsm, each behind one function; BouncyCastle is beside its reader. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Reader, Readers } from './fixtures.ts';
import { run, succeed } from './programs.ts';
import { cmsOf, gpgsm, nss, openssl } from './readers.ts';

/** One signed entity taken to pieces, for the programs that read no MIME. */
export interface Signed {
  readonly entity: Buffer;
  /** ContentInfo, DER or BER. */
  readonly signature: Buffer;
  /** What was signed, where it stands beside the signature. */
  readonly beside: Buffer | undefined;
}

export interface Verifier {
  readonly name: string;
  /** Resolves with what was signed, where `signer` signed it and is believed; else rejects with the program's own complaint. */
  verify(signed: Signed, signer: Reader): Promise<Buffer>;
  close(): Promise<void>;
}

export interface VerifierKind {
  readonly name: string;
  missing(): string | undefined;
  start(readers: Readers): Promise<Verifier>;
}

const EMPTY_LINE = '\r\n\r\n';

/** By hand and by octets: a MIME library would mend what a reader stumbles over. */
export function takeApart(entity: Buffer): Signed {
  const boundary = /^Content-Type: multipart\/signed;[^]*?boundary="([^"]+)"/m.exec(entity.toString('latin1', 0, 2000))?.[1];
  if (boundary === undefined) return { entity, signature: cmsOf(entity), beside: undefined };
  const first = entity.indexOf(`--${boundary}\r\n`) + `--${boundary}\r\n`.length;
  const delimiter = `\r\n--${boundary}\r\n`;
  const end = entity.lastIndexOf(delimiter);
  const close = entity.lastIndexOf(`\r\n--${boundary}--`);
  const second = entity.subarray(end + delimiter.length, close);
  return { entity, signature: cmsOf(second), beside: entity.subarray(first, end) };
}

/** The body of an entity that has a header. */
export const bodyOf = (entity: Buffer): Buffer => entity.subarray(entity.indexOf(EMPTY_LINE) + EMPTY_LINE.length);

/** Reads the MIME form itself. `-cades` looks at the signed attribute that names the certificate, too (RFC 5035). */
export const opensslVerifier: VerifierKind = {
  name: 'openssl',
  missing: () => openssl.missing(),
  async start({ ca }) {
    const dir = await mkdtemp(join(tmpdir(), 'verify-'));
    let count = 0;
    return {
      name: 'openssl',
      async verify({ entity }, signer) {
        const seen = join(dir, `${++count}.pem`);
        const verify = ['cms', '-verify', '-inform', 'SMIME', '-CAfile', ca, '-purpose', 'smimesign', '-cades', '-signer', seen];
        const content = await succeed('openssl', verify, { input: entity });
        const [found, wanted] = await Promise.all([fingerprintOf(seen), fingerprintOf(signer.certificate)]);
        if (found !== wanted) throw new Error('signed with another certificate');
        return content;
      },
      close: () => rm(dir, { recursive: true, force: true }),
    };
  },
};

const fingerprintOf = async (certificate: string): Promise<string> =>
  (await succeed('openssl', ['x509', '-noout', '-fingerprint', '-sha256', '-in', certificate])).toString('latin1');

export const nssVerifier: VerifierKind = {
  name: 'NSS',
  missing: () => nss.missing(),
  async start({ ca }) {
    const dir = await mkdtemp(join(tmpdir(), 'nss-'));
    const database = ['-d', `sql:${dir}`];
    await succeed('certutil', ['-N', ...database, '--empty-password']);
    await succeed('certutil', ['-A', ...database, '-n', 'ca', '-t', 'CT,CT,CT', '-i', ca]);
    let count = 0;
    return {
      name: 'NSS',
      async verify({ signature, beside }, signer) {
        const number = ++count;
        const [input, content, output] = [join(dir, `${number}.p7s`), join(dir, `${number}.in`), join(dir, `${number}.out`)];
        await writeFile(input, signature);
        if (beside !== undefined) await writeFile(content, beside);
        const verify = ['-D', ...database, ...(beside === undefined ? [] : ['-c', content]), '-i', input];
        const said = (await succeed('cmsutil', [...verify, '-h', '1', '-n'])).toString('utf8');
        // Who signed, by the name in the certificate.
        if (!/signer0\.status=GoodSignature/.test(said) || !said.includes(`signer0.id="${signer.name}"`)) throw new Error(`NSS: ${said}`);
        await succeed('cmsutil', [...verify, '-o', output]);
        return readFile(output);
      },
      close: () => rm(dir, { recursive: true, force: true }),
    };
  },
};

export const gpgsmVerifier: VerifierKind = {
  name: 'gpgsm',
  missing: () => gpgsm.missing(),
  async start({ ca }) {
    const home = await mkdtemp(join(tmpdir(), 'g-'));
    const options = { env: { GNUPGHOME: home } };
    const base = ['--batch', '--no-tty', '--disable-crl-checks', '--disable-policy-checks', '--status-fd', '1'];
    const close = async (): Promise<void> => {
      await succeed('gpgconf', ['--kill', 'all'], options);
      await rm(home, { recursive: true, force: true });
    };
    try {
      const fingerprint = (await succeed('openssl', ['x509', '-noout', '-fingerprint', '-sha1', '-in', ca])).toString('latin1');
      await writeFile(join(home, 'trustlist.txt'), `${fingerprint.trim().replace(/^.*=/, '').replaceAll(':', '')} S relax\n`);
      await succeed('gpgsm', [...base, '--import', ca], options);
    } catch (error) {
      await close();
      throw error;
    }
    let count = 0;
    return {
      name: 'gpgsm',
      async verify({ signature, beside }, signer) {
        const number = ++count;
        const [input, content, output] = [join(home, `${number}.p7s`), join(home, `${number}.in`), join(home, `${number}.out`)];
        await writeFile(input, signature);
        if (beside !== undefined) await writeFile(content, beside);
        const files = beside === undefined ? ['--output', output, '--verify', input] : ['--verify', input, content];
        const { code, stdout, stderr } = await run('gpgsm', [...base, ...files], options);
        const said = stdout.toString('utf8');
        const good = /^\[GNUPG:\] GOODSIG \S+ (.*)$/m.exec(said)?.[1] ?? '';
        if (code !== 0 || !/^\[GNUPG:\] TRUST_FULLY/m.test(said) || !good.includes(`CN=${signer.name}`))
          throw new Error(`gpgsm: ${stderr}${said}`);
        return beside ?? readFile(output);
      },
      close,
    };
  },
};
