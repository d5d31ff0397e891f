/** A site with an in-house CA, and `sealpost certs` on it in this process: what is typed, what is said, what is thrown. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { createAuthority } from '../../src/commands/certificates/authority.ts';
import { build } from '../../src/commands/certs.ts';
import { SealpostError } from '../../src/errors.ts';
import { auditLines } from '../../src/audit/segments.ts';
import { temporaryFolder } from './transcript.ts';

export interface Told {
  readonly out: string;
  readonly err: string;
  /** What the program would end with, and say behind `err`. */
  readonly error: SealpostError | undefined;
}

export interface IssuingSite {
  readonly dir: string;
  readonly at: (...parts: readonly string[]) => string;
  certs(args: readonly string[], input?: string | Buffer): Promise<Told>;
  /** Of the audit log, those of one name. */
  events(name: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

export interface IssuingOptions {
  /** Of an earlier release: one level, its key not encrypted. */
  readonly single?: true;
  /** Keys of `certificates`; the passphrase is named where it is left out. */
  readonly certificates?: object;
  readonly env?: Readonly<Record<string, string>>;
}

export async function makeIssuingSite(t: TestContext, { single, certificates, env = {} }: IssuingOptions = {}): Promise<IssuingSite> {
  const dir = await temporaryFolder(t);
  const at = (...parts: readonly string[]): string => join(dir, ...parts);
  for (const folder of ['recipients', 'anchors', 'intermediates']) mkdirSync(at('certs', folder), { recursive: true });
  mkdirSync(at('data'), { mode: 0o700 });
  mkdirSync(at('keys'), { mode: 0o700 });
  const ends = { listen: [{ host: '127.0.0.1', port: 2525 }], upstream: [{ host: '127.0.0.1', port: 25 }] };
  const site = { hostname: 'relay.clinic.example', operator: 'postmaster@clinic.example', ...ends };
  const named = single === true ? {} : { authority: { passphrase: 'file:keys/ca.passphrase' } };
  writeFileSync(at('sealpost.yaml'), JSON.stringify({ ...site, certificates: certificates ?? named }));
  if (single === true) {
    const old = join(import.meta.dirname, '../certificates/authority/one-level');
    copyFileSync(join(old, 'ca.key'), at('keys/ca.key'));
    copyFileSync(join(old, 'in-house-ca.pem'), at('certs/anchors/in-house-ca.pem'));
  } else
    await createAuthority(
      { keys: at('keys'), anchors: at('certs/anchors'), intermediates: at('certs/intermediates') },
      'the clinic',
      Date.now(),
    );
  return {
    dir,
    at,
    async certs(args, input = '') {
      const [out, err]: [string[], string[]] = [[], []];
      const kept = (texts: string[]): Writable =>
        new Writable({
          write: (chunk: Buffer, _, done) => {
            texts.push(chunk.toString());
            done();
          },
        });
      const stdin = Readable.from([Buffer.from(input)]);
      let error: SealpostError | undefined;
      try {
        const command = build({ stdin, stdout: kept(out), stderr: kept(err), env, cwd: dir, colour: false });
        await command.parseAsync([...args], { from: 'user' });
      } catch (thrown) {
        if (!(thrown instanceof SealpostError)) throw thrown;
        error = thrown;
      }
      return { out: out.join(''), err: err.join(''), error };
    },
    async events(name) {
      const found: Readonly<Record<string, unknown>>[] = [];
      for await (const { bytes } of auditLines(at('data/audit.jsonl'))) {
        const entry: Readonly<Record<string, unknown>> = { ...JSON.parse(bytes.toString()) };
        if (entry['event'] === name) found.push(entry);
      }
      return found;
    },
  };
}
