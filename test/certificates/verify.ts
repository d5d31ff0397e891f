/** `openssl verify` as a second judge of whole paths, at the rules that come nearest to ours. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** `depth`: of the certificate that it is about, 0 for the last one. */
export type Opinion = { readonly kind: 'accepts' } | { readonly kind: 'refuses'; readonly reason: string; readonly depth: number };

export interface Question {
  readonly anchors: readonly Buffer[];
  readonly intermediates: readonly Buffer[];
  readonly leaves: readonly Buffer[];
  /** Revocation lists; undefined asks for no revocation. */
  readonly crls: readonly Buffer[] | undefined;
  /** ms */
  readonly now: number;
}

const pem = (ders: readonly Buffer[], label = 'CERTIFICATE'): string =>
  ders
    .map((der) => `-----BEGIN ${label}-----\n${der.toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END ${label}-----\n`)
    .join('');

/**
 * One opinion for each leaf. `-partial_chain`: whatever lies among the anchors is one. `-auth_level 2`: RSA from 2048 bits and no
 * SHA-1. `-policy_check` and anyPolicy: policies are followed, and any will do (RFC 5280 §6.1.1 c).
 */
export async function askOpenssl(folder: string, { anchors, intermediates, leaves, crls, now }: Question): Promise<readonly Opinion[]> {
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return name;
  };
  const options = [
    '-partial_chain',
    '-purpose',
    'smimesign',
    '-auth_level',
    '2',
    '-policy_check',
    '-policy',
    '2.5.29.32.0',
    '-attime',
    String(Math.floor(now / 1000)),
  ];
  const trusted = ['-no-CApath', '-no-CAstore', '-CAfile', file('anchors.pem', pem(anchors))];
  const helping = intermediates.length > 0 ? ['-untrusted', file('untrusted.pem', pem(intermediates))] : [];
  const lists = crls === undefined || crls.length === 0 ? [] : ['-CRLfile', file('crls.pem', pem(crls, 'X509 CRL'))];
  const revoked = crls === undefined ? [] : ['-crl_check_all', ...lists];
  const files = leaves.map((leaf, index) => file(`leaf${index}.pem`, pem([leaf])));
  const told = await outputOf(folder, ['verify', ...options, ...trusted, ...helping, ...revoked, ...files]);
  return files.map((name) => {
    if (told.includes(`\n${name}: OK`)) return { kind: 'accepts' };
    const before = told.split(`error ${name}: verification failed`)[0] ?? '';
    const [, depth, reason] = [...before.matchAll(/^error \d+ at (\d+) depth lookup: (.+)$/gm)].at(-1) ?? [];
    return { kind: 'refuses', reason: reason ?? `not read: ${told.slice(0, 500)}`, depth: Number(depth) };
  });
}

async function outputOf(folder: string, args: readonly string[]): Promise<string> {
  // Lines of both outputs in the order they were written, whichever file they are about.
  const child = spawn('sh', ['-c', 'exec openssl "$@" 2>&1', 'openssl', ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  let told = '\n';
  for await (const chunk of child.stdout) told += String(chunk);
  return told;
}
