/** The key of the address hashes, read by the thread that writes the audit log. */
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { SealpostError } from '../errors.ts';
import { privacyFault } from './folder.ts';

const KEY_OCTETS = 32;

/** 64 hex digits in a file of our own. Throws `file-unreadable`, `key-malformed`. */
export function readAuditKey(file: string): Buffer {
  let text: string;
  try {
    const descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const fault = privacyFault(fstatSync(descriptor), 'file');
      if (fault !== undefined) throw new SealpostError('file-unreadable', { detail: `${file} ${fault}`, hint: `chmod 0600 ${file}` });
      text = readFileSync(descriptor, 'utf8');
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('file-unreadable', {
      detail: file,
      hint: 'audit.addresses: hashed needs it; make it: sealpost audit key',
      cause,
    });
  }
  const key = Buffer.from(text.trim(), 'hex');
  if (key.length !== KEY_OCTETS || !/^[0-9a-f]{64}\s*$/.test(text))
    throw new SealpostError('key-malformed', {
      detail: file,
      hint: 'restore it from a backup: hashes of another key fit none of those before',
    });
  return key;
}
