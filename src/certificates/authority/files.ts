/**
 * The files of the in-house CA: a root, which is to be kept elsewhere once it has signed, and the issuing CA below it, which signs
 * the certificates of recipients. A site that was made by an earlier release has a root alone, its key not encrypted; it goes on so.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { SealpostError } from '../../errors.ts';
import { readCertificates } from '../bundle.ts';
import type { Certificate } from '../certificate.ts';
import { isKeyOf } from '../pkcs12/keys.ts';
import type { Authority } from './issue.ts';
import { isEncryptedKey, readKeyFile, unlockKeyFile } from './key-file.ts';

/** Folders, absolute. */
export interface AuthorityPlaces {
  readonly keys: string;
  readonly anchors: string;
  readonly intermediates: string;
}

export interface OpenAuthority {
  /** Signs certificates of recipients. */
  readonly issuing: Authority;
  readonly root: {
    readonly certificate: Certificate;
    /** Read when it is asked for, with what openAuthority() throws; undefined where it is not here. */
    readonly key?: KeyObject | undefined;
  };
}

export interface AuthorityFiles {
  readonly rootKey: string;
  readonly rootCertificate: string;
  readonly issuingKey: string;
  readonly issuingCertificate: string;
}

/** Of the two levels that `init` makes. */
export const authorityFiles = ({ keys, anchors, intermediates }: AuthorityPlaces): AuthorityFiles => ({
  rootKey: join(keys, 'root.key'),
  rootCertificate: join(anchors, 'in-house-root.pem'),
  issuingKey: join(keys, 'issuing.key'),
  issuingCertificate: join(intermediates, 'in-house-issuing.pem'),
});

/** Of an earlier release: one level. */
function singleFiles({ keys, anchors }: AuthorityPlaces): AuthorityFiles {
  const [key, certificate] = [join(keys, 'ca.key'), join(anchors, 'in-house-ca.pem')];
  return { rootKey: key, rootCertificate: certificate, issuingKey: key, issuingCertificate: certificate };
}

/** Those that are there; of two levels where none are, so that errors name these. */
function filesOf(places: AuthorityPlaces): AuthorityFiles {
  const [double, single] = [authorityFiles(places), singleFiles(places)];
  return [double.issuingKey, double.issuingCertificate].some((file) => existsSync(file)) || !existsSync(single.issuingKey)
    ? double
    : single;
}

/** Whether there is anything of an in-house CA. */
export const hasAuthority = (places: AuthorityPlaces): boolean => existsSync(filesOf(places).issuingKey);

/** Whether openAuthority() wants a passphrase. Throws `file-unreadable`. */
export const needsPassphrase = (places: AuthorityPlaces): boolean =>
  isEncryptedKey(readPart(filesOf(places).issuingKey).toString('latin1'));

/** Without a key. Throws `file-unreadable`, `certificate-malformed`. */
export function authorityCertificates(places: AuthorityPlaces): { readonly issuing: Certificate; readonly root: Certificate } {
  const { issuingCertificate, rootCertificate } = filesOf(places);
  return { issuing: readCertificate(issuingCertificate), root: readCertificate(rootCertificate) };
}

/** Throws `file-unreadable`, `key-malformed`, `certificate-malformed`. */
export function openAuthority(places: AuthorityPlaces, passphrase: string | undefined): OpenAuthority {
  const files = filesOf(places);
  const key = readKeyFile(keyText(files.issuingKey), passphrase, files.issuingKey);
  return joined(files, key, passphrase);
}

/** The same where mail shares the thread. The key of the root is still opened on it, where it is asked for. */
export async function unlockAuthority(places: AuthorityPlaces, passphrase: string | undefined): Promise<OpenAuthority> {
  const files = filesOf(places);
  const key = await unlockKeyFile(keyText(files.issuingKey), passphrase, files.issuingKey);
  return joined(files, key, passphrase);
}

const keyText = (file: string): string => readPart(file).toString('latin1');

function joined(files: AuthorityFiles, key: KeyObject, passphrase: string | undefined): OpenAuthority {
  const root = readCertificate(files.rootCertificate);
  const certificate = readCertificate(files.issuingCertificate);
  assertPair(key, certificate, { keyFile: files.issuingKey, certificateFile: files.issuingCertificate });
  return {
    issuing: { certificate, key },
    root: {
      certificate: root,
      get key() {
        if (files.rootKey === files.issuingKey) return key;
        if (!existsSync(files.rootKey)) return undefined;
        const rootKey = readKeyFile(keyText(files.rootKey), passphrase, files.rootKey);
        assertPair(rootKey, root, { keyFile: files.rootKey, certificateFile: files.rootCertificate });
        return rootKey;
      },
    },
  };
}

function assertPair(
  key: KeyObject,
  certificate: Certificate,
  { keyFile, certificateFile }: { readonly keyFile: string; readonly certificateFile: string },
): void {
  if (isKeyOf(key, certificate)) return;
  throw new SealpostError('key-malformed', {
    detail: `${keyFile} is not the key of ${certificateFile}`,
    hint: 'the two belong together: restore them from one backup',
  });
}

/** From the CA that signs up to the root: what stands beside a certificate in a PKCS#12. */
export const authorityChain = ({ issuing, root }: OpenAuthority): readonly Certificate[] =>
  issuing.certificate.fingerprint === root.certificate.fingerprint ? [root.certificate] : [issuing.certificate, root.certificate];

function readCertificate(file: string): Certificate {
  const [certificate] = readCertificates(readPart(file)).certificates;
  if (certificate === undefined) throw new SealpostError('certificate-malformed', { detail: file });
  return certificate;
}

function readPart(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new SealpostError('file-unreadable', {
      detail: file,
      hint: 'sealpost init makes a site with an in-house CA; issue works where its key is',
      cause,
    });
  }
}
