/**
 * The hold certificate and its key as they lie on the disk. The certificate alone is enough to hold mail. The key may be here, under a
 * passphrase that the configuration names, and mail is then released by the relay itself; or elsewhere, and it is released by hand.
 */
import type { KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { isEncryptedKey, unlockKeyFile } from '../certificates/authority/key-file.ts';
import { readCertificates } from '../certificates/bundle.ts';
import type { Certificate } from '../certificates/certificate.ts';
import { holdAge, holdFault } from '../certificates/hold.ts';
import { isKeyOf } from '../certificates/pkcs12/keys.ts';
import type { Config } from '../config.ts';
import type { Environment } from '../config/environment.ts';
import { readSecret } from '../config/secret.ts';
import type { Fault } from '../document/fault.ts';
import { isClosed, secretFault } from '../document/secret-file.ts';
import { systemCode } from '../document/yaml.ts';
import { SealpostError } from '../errors.ts';
import type { Rule } from '../policy/decide.ts';

/** Absolute. */
export interface HoldFiles {
  readonly certificate: string;
  readonly key: string;
}

type HoldConfig = Pick<Config, 'file' | 'hold' | 'keys'>;

export const holdFiles = ({ hold, keys }: Pick<Config, 'hold' | 'keys'>): HoldFiles => ({
  certificate: hold.certificate ?? join(keys, 'hold.pem'),
  key: hold.key ?? join(keys, 'hold.key'),
});

/**
 * `absent`: there is no such file, or none that can be opened without somebody's passphrase; both may be meant. `closed`: it would be in a
 * folder that the relay may not enter, which is meant too, where nothing of it is needed.
 */
type Read<T> =
  | { readonly kind: 'read'; readonly value: T }
  | { readonly kind: 'absent' }
  | { readonly kind: 'closed'; readonly fault: Fault }
  | { readonly kind: 'fault'; readonly fault: Fault };

export interface Hold {
  /** What mail is sealed to while it is held; undefined where nothing can be held. */
  certificate(): Certificate | undefined;
  /** Undefined where mail is released by hand. */
  privateKey(): KeyObject | undefined;
  /** Reads what has changed on the disk since. Never throws. */
  look(): Promise<void>;
}

export interface HoldOptions {
  readonly log: Logger;
  /** Ms since the epoch. */
  readonly now: () => number;
}

/** Never throws: what cannot be used is logged, and `check` tells of it with its mend. */
export async function openHold(config: HoldConfig, env: Environment, { log, now }: HoldOptions): Promise<Hold> {
  let seen: string | undefined;
  let certificate: Certificate | undefined;
  let key: KeyObject | undefined;
  const tell = ({ place, wrong }: Fault): void => log.error({ file: place, wrong }, 'a file of held mail cannot be used');
  const look = async (): Promise<void> => {
    const state = await stateOf(config);
    if (state === seen) return;
    seen = state;
    const read = await readHoldCertificate(config);
    if (read.kind === 'fault') tell(read.fault);
    certificate = read.kind === 'read' ? read.value : undefined;
    const age = certificate === undefined ? undefined : holdAge(certificate, now());
    if (age !== undefined) log.error({ file: holdFiles(config).certificate, wrong: age }, 'mail is held to a certificate out of its time');
    const unlocked = certificate === undefined ? undefined : await readHoldKey(config, env, certificate);
    if (unlocked?.kind === 'fault') tell(unlocked.fault);
    key = unlocked?.kind === 'read' ? unlocked.value : undefined;
    if (certificate !== undefined)
      log.info({ certificate_sha256: certificate.fingerprint, key: key === undefined ? 'elsewhere' : 'here' }, 'mail can be held');
  };
  await look();
  return { certificate: () => certificate, privateKey: () => key, look };
}

/** Changes where one of the files does. */
async function stateOf(config: HoldConfig): Promise<string> {
  const { certificate, key } = holdFiles(config);
  const { passphrase } = config.hold;
  const files = [certificate, key, ...(passphrase?.from === 'file' ? [passphrase.path] : [])];
  const found = await Promise.all(
    files.map(async (file) => {
      const stats = await stat(file, { bigint: true }).catch(() => undefined);
      return stats === undefined ? '-' : `${stats.ino} ${stats.mtimeNs} ${stats.size}`;
    }),
  );
  return found.join('; ');
}

const MAKE = 'sealpost queue hold-key makes one';

export async function readHoldCertificate(config: HoldConfig): Promise<Read<Certificate>> {
  const file = holdFiles(config).certificate;
  const fault = (wrong: string, mend: string): Extract<Read<never>, { kind: 'fault' }> => ({
    kind: 'fault',
    fault: { place: file, key: 'hold.certificate', wrong, mend },
  });
  const octets = await readPart(file);
  if (octets.kind === 'absent') return octets;
  if (octets.kind !== 'read') {
    const unread = fault(octets.wrong, 'let the user of sealpost read it, or name another place under hold.certificate');
    return octets.kind === 'closed' ? { ...unread, kind: 'closed' } : unread;
  }
  try {
    const [certificate] = readCertificates(octets.value).certificates;
    if (certificate === undefined) return fault('holds no certificate', MAKE);
    const wrong = holdFault(certificate);
    return wrong === undefined ? { kind: 'read', value: certificate } : fault(wrong, MAKE);
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    return fault(error.message, 'restore it from a backup of the keys folder');
  }
}

/** A key in a file that others may read is a fault, and is used all the same: not to release mail would help nobody. */
async function readHoldKey(config: HoldConfig, env: Environment, certificate: Certificate): Promise<Read<KeyObject>> {
  const file = holdFiles(config).key;
  const fault = (wrong: string, mend: string): Read<never> => ({ kind: 'fault', fault: { place: file, key: 'hold.key', wrong, mend } });
  const octets = await readPart(file);
  if (octets.kind === 'absent') return octets;
  if (octets.kind !== 'read') return fault(octets.wrong, 'let the user of sealpost read it, or take it away from this machine');
  try {
    const text = octets.value.toString('latin1');
    if (config.hold.passphrase === undefined && isEncryptedKey(text)) return { kind: 'absent' };
    const passphrase = config.hold.passphrase === undefined ? undefined : await readSecret(config.hold.passphrase, env);
    const key = await unlockKeyFile(text, passphrase, file);
    if (isKeyOf(key, certificate)) return { kind: 'read', value: key };
    return fault(`is not the key of ${holdFiles(config).certificate}`, 'the two belong together: restore them from one backup');
  } catch (error) {
    if (!(error instanceof SealpostError)) throw error;
    const mend = 'hold.passphrase names the passphrase it was made with; without the key here, mail is released by hand';
    return fault(error.detail ?? error.message, error.code === 'file-unreadable' ? error.hint : mend);
  } finally {
    octets.value.fill(0);
  }
}

type Part =
  | { readonly kind: 'read'; readonly value: Buffer }
  | { readonly kind: 'absent' }
  | { readonly kind: 'closed' | 'fault'; readonly wrong: string };

async function readPart(file: string): Promise<Part> {
  try {
    // O_NONBLOCK: a FIFO in its place must not hold up the start.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    return { kind: 'read', value: await handle.readFile() };
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return { kind: 'absent' };
    return { kind: (await isClosed(file)) ? 'closed' : 'fault', wrong: `cannot be read (${code ?? 'unknown reason'})` };
  }
}

type HoldingRule = Pick<Rule, 'name' | 'then' | 'missing' | 'unavailable'>;

/** Whether mail can come to be held by it. */
export const mayHold = ({ then, missing, unavailable }: HoldingRule): boolean =>
  then === 'hold' || (then === 'seal' && (missing === 'hold' || unavailable === 'hold'));

export interface HoldFindings {
  readonly faults: readonly Fault[];
  /** Nothing is broken yet. */
  readonly notes: readonly string[];
}

/** What `check` says: `now` in ms. */
export async function holdFaults(
  rules: readonly HoldingRule[],
  config: HoldConfig,
  { env, now }: { readonly env: Environment; readonly now: number },
): Promise<HoldFindings> {
  const files = holdFiles(config);
  const certificate = await readHoldCertificate(config);
  const holding = rules.find(mayHold);
  const isTold = certificate.kind === 'fault' || (certificate.kind === 'closed' && holding !== undefined);
  if (isTold) return { faults: [certificate.fault], notes: [] };
  if (certificate.kind !== 'read') {
    if (holding === undefined) return { faults: [], notes: [] };
    const wrong = `is not there, and the rule ${holding.name} holds mail: it would be answered 451`;
    return { faults: [{ place: files.certificate, key: 'hold.certificate', wrong, mend: MAKE }], notes: [] };
  }
  const age = holdAge(certificate.value, now);
  const notes = age === undefined ? [] : [`${files.certificate}: hold.certificate: ${age}; mail is held to it all the same: ${MAKE}`];
  const key = await readHoldKey(config, env, certificate.value);
  const exposed = await stat(files.key).then(secretFault, () => undefined);
  const open = { place: files.key, key: 'hold.key', wrong: exposed ?? '', mend: `chmod o= ${files.key}` };
  const faults = [...(key.kind === 'fault' ? [key.fault] : []), ...(exposed === undefined ? [] : [open])];
  if (holding !== undefined && key.kind === 'absent' && faults.length === 0)
    notes.push('the relay cannot open the key of held mail: sealpost queue release --key FILE releases it by hand');
  return { faults, notes };
}
