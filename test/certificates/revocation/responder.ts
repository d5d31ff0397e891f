/** OCSP by a stranger: openssl(1), as a process that listens, and as one that signs a single answer. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { parseCertificate } from '../../../src/certificates/certificate.ts';
import type { Certificate } from '../../../src/certificates/certificate.ts';
import { certIdOf, ocspRequest } from '../../../src/certificates/revocation/ocsp-request.ts';
import { makeFetch } from '../../../src/certificates/revocation/fetch.ts';
import type { FetchDocument } from '../../../src/certificates/revocation/revocation.ts';
import { derOf, run } from '../openssl.ts';

export const read = (folder: string, name: string): Certificate =>
  parseCertificate(derOf(readFileSync(join(folder, `${name}.pem`), 'latin1')));

/** `status`: V, or R with a date and reason as openssl's database has them. */
export interface Row {
  readonly certificate: Certificate;
  readonly status: 'V' | `R ${string}`;
}

/** openssl's database of a CA: what its responder answers from. */
export function writeIndex(folder: string, name: string, rows: readonly Row[]): void {
  const lines = rows.map(({ certificate: { serial }, status: [letter = '', , ...revoked] }) => {
    const hex = serial.length % 2 === 0 ? serial : `0${serial}`;
    return [letter, '491231235959Z', revoked.join(''), hex.toUpperCase(), 'unknown', `/CN=${hex}`].join('\t');
  });
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
}

export interface Responder {
  /** Names of certificates in the folder. */
  readonly ca: string;
  readonly signer: string;
  readonly index: string;
  /** Further arguments: `-ndays 7`, `-rmd sha1`. */
  readonly more?: readonly string[];
}

const asked = ({ ca, signer, index, more = [] }: Responder): string[] =>
  ['-index', index, '-CA', `${ca}.pem`, '-rsigner', `${signer}.pem`, '-rkey', `${signer}.key`].concat(more);

let requests = 0;

/** One answer of openssl's to our own request. */
export function answerOf(folder: string, certificate: Certificate, issuer: Certificate, responder: Responder): Buffer {
  const name = `request${requests++}`;
  writeFileSync(join(folder, `${name}.der`), ocspRequest(certIdOf(certificate, issuer)));
  run('openssl', ['ocsp', ...asked(responder), '-reqin', `${name}.der`, '-respout', `${name}.out`], folder);
  return readFileSync(join(folder, `${name}.out`));
}

export interface RunningResponder {
  readonly stop: () => Promise<void>;
}

/** `openssl ocsp` on a port of 127.0.0.1 until it is stopped. */
export async function startResponder(folder: string, port: number, responder: Responder): Promise<RunningResponder> {
  const args = ['ocsp', '-port', `${port}`, ...asked(responder)];
  const process = spawn('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] });
  const gone = once(process, 'exit');
  // Its first word is that it listens. A connection to try that would end it: it answers, and dies of the closed pipe.
  await Promise.race([
    once(process.stdout, 'data'),
    gone.then(() => {
      throw new Error('openssl ocsp does not start');
    }),
  ]);
  process.stdout.resume();
  return {
    stop: async () => {
      process.kill('SIGKILL');
      await gone;
    },
  };
}

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const { port } = address;
  server.close();
  await once(server, 'close');
  return port;
}

/** The guarded fetch of the relay, let into the network of the tests. */
export const guardedFetch = (): FetchDocument => makeFetch({ networks: ['127.0.0.0/8'], resolve: async () => ['127.0.0.1'] });
