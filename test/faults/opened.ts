/** Looks into what an upstream was given as its reader would: the whole message is in it, or what is wrong. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Readers } from '../interop/fixtures.ts';
import { openMessage } from '../../src/seal/open.ts';
import type { Mail } from './load.ts';

/** `clear`: its canary can be read. `cut`: what opens is not what was handed in. */
export type Look = 'whole' | 'clear' | 'cut' | 'closed';

export type Looking = (mail: Mail, recipient: string, octets: Buffer) => Look;

/** `passes`: the recipients whose mail a rule lets out in clear. */
export async function makeLooking(readers: Readers, passes: (recipient: string) => boolean = () => false): Promise<Looking> {
  const keys = new Map<string, KeyObject>();
  for (const { address, key } of Object.values(readers.people)) keys.set(address, createPrivateKey(await readFile(key)));
  return (mail, recipient, octets) => {
    if (passes(recipient)) return octets.subarray(-mail.message.length).equals(mail.message) ? 'whole' : 'cut';
    if (octets.includes(mail.canary)) return 'clear';
    const key = keys.get(recipient);
    if (key === undefined) return 'closed';
    const body = mail.message.subarray(mail.message.indexOf('\r\n\r\n'));
    try {
      const { entity } = openMessage(octets, [{ key }]);
      return entity.subarray(-body.length).equals(body) && entity.includes(`Subject: ${mail.canary}`) ? 'whole' : 'cut';
    } catch {
      return 'closed';
    }
  };
}
