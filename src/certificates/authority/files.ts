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
import { isEncryptedKey, readKeyFile } from './key-file.ts';

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
  const open = (keyFile: string, certificate: Certificate, certificateFile: string): KeyObject => {
    const key = readKeyFile(readPart(keyFile).toString('latin1'), passphrase, keyFile);
    if (isKeyOf(key, certificate)) return key;
    throw new SealpostError('key-malformed', {
      detail: `${keyFile} is not the key of ${certificateFile}`,
      hint: 'the two belong together: restore them from one backup',
    });
  };
  const root = readCertificate(files.rootCertificate);
  const certificate = readCertificate(files.issuingCertificate);
  const issuing = { certificate, key: open(files.issuingKey, certificate, files.issuingCertificate) };
  return {
    issuing,
    root: {
      certificate: root,
      get key() {
        if (files.rootKey === files.issuingKey) return issuing.key;
        return existsSync(files.rootKey) ? open(files.rootKey, root, files.rootCertificate) : undefined;
      },
    },
  };
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
