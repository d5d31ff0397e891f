/**
 * `npm run verdicts`: the table of docs/revocation.md, which `-- --write` puts there. A root, CAs below it, lists and responders are made with openssl(1) in a
 * temporary folder and served on the loopback; the directory is asked for one reader after the other under off, soft and hard.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { pino } from 'pino';
import { makeDirectory } from '../../../src/certificates/directory.ts';
import { makeFileSource, openRecipientFolder } from '../../../src/certificates/files.ts';
import { makeCertificateFolder } from '../../../src/certificates/folder.ts';
import { openRevocation } from '../../../src/certificates/revocation/open.ts';
import type { RevocationMode } from '../../../src/certificates/revocation/policy.ts';
import { makeTrust, type Trust } from '../../../src/certificates/trust.ts';
import { caExtensions, mailboxOf, make, run } from '../openssl.ts';
import { freePort, read, type Row, startResponder, writeIndex } from './responder.ts';

export const PAGE = join(import.meta.dirname, '../../../docs/revocation.md');

/** `crl`, `ocsp`: the place that the certificate names; `by`: its issuer. */
interface Leaf {
  readonly name: string;
  readonly meaning: string;
  readonly by?: 'sub' | 'lost' | 'narrow' | 'stranger';
  readonly domain?: string;
  readonly crl?: string;
  readonly ocsp?: 'ocsp' | 'forged' | 'dead';
  readonly status?: Row['status'];
  readonly to?: string;
}

const REVOKED = 'R 260501120000Z,keyCompromise';

const leaves: readonly Leaf[] = [
  { name: 'listed', meaning: 'good, says the list', crl: 'sub' },
  { name: 'answered', meaning: 'names no list; good, says OCSP', ocsp: 'ocsp' },
  { name: 'rescued', meaning: 'its list is stale; good, says OCSP', crl: 'stale', ocsp: 'ocsp' },
  { name: 'lost-key', meaning: 'revoked, says the list', crl: 'sub', status: REVOKED },
  { name: 'left', meaning: 'revoked, says OCSP', ocsp: 'ocsp', status: 'R 260502120000Z,affiliationChanged' },
  { name: 'below-lost', meaning: 'good, below a CA that is revoked', by: 'lost', crl: 'lost' },
  { name: 'stale', meaning: 'its list is stale', crl: 'stale' },
  { name: 'missing', meaning: 'its list is not there', crl: 'nowhere' },
  { name: 'misled', meaning: 'its list is signed by another CA', crl: 'foreign' },
  { name: 'delta', meaning: 'names a delta list only', crl: 'delta' },
  { name: 'forged', meaning: 'OCSP answers, by who may not', ocsp: 'forged' },
  { name: 'dead', meaning: 'its OCSP responder is dead', ocsp: 'dead' },
  { name: 'ldap', meaning: 'its list is at an ldap: URL', crl: 'ldap://ca.example/cn=ca' },
  { name: 'inward', meaning: 'its list is at an address that is not public', crl: 'http://192.168.7.7/ca.crl' },
  { name: 'silent', meaning: 'names neither list nor responder' },
  { name: 'partner', meaning: 'within the name constraint of its CA', by: 'narrow', domain: 'partner.example', crl: 'narrow' },
  { name: 'outsider', meaning: 'outside the name constraint of its CA', by: 'narrow', crl: 'narrow' },
  { name: 'expired', meaning: 'expired', crl: 'sub', to: '20210101000000Z' },
  { name: 'strange', meaning: 'of a CA that is no anchor', by: 'stranger', crl: 'sub' },
];

const addressOf = ({ name, domain = 'clinic.example' }: Leaf): string => `${name}@${domain}`;

/** The table in Markdown. `folder` is taken for everything; the caller takes it away. */
export async function verdicts(folder: string): Promise<string> {
  const lists = await serve(folder);
  const [answering, forging, dead] = [await freePort(), await freePort(), await freePort()];
  const places: ReadonlyMap<string, string> = new Map([
    [`127.0.0.1:${lists.port}`, 'lists.example'],
    [`127.0.0.1:${answering}`, 'ocsp.example'],
    [`127.0.0.1:${forging}`, 'forger.example'],
    [`127.0.0.1:${dead}`, 'dead.example'],
  ]);
  const urlOf = (crl: string): string => (crl.includes(':') ? crl : `http://127.0.0.1:${lists.port}/${crl}.crl`);
  const ports = { ocsp: answering, forged: forging, dead };
  makeAuthorities(folder, urlOf);
  for (const leaf of leaves) {
    const extensions = [
      `subjectAltName=email:${addressOf(leaf)}`,
      ...(leaf.crl === undefined ? [] : [`crlDistributionPoints=URI:${urlOf(leaf.crl)}`]),
      ...(leaf.ocsp === undefined ? [] : [`authorityInfoAccess=OCSP;URI:http://127.0.0.1:${ports[leaf.ocsp]}/`]),
    ];
    make(folder, { name: leaf.name, issuer: leaf.by ?? 'sub', extensions, ...(leaf.to === undefined ? {} : { to: leaf.to }) });
    copyFileSync(join(folder, `${leaf.name}.pem`), join(folder, 'recipients', `${leaf.name}.pem`));
  }
  makeLists(folder);
  const responder = { ca: 'sub', signer: 'responder', index: 'sub.index', more: ['-ndays', '2'] };
  const running = [
    await startResponder(folder, answering, responder),
    await startResponder(folder, forging, { ...responder, signer: 'stranger' }),
  ];
  try {
    const columns: string[][] = [];
    for (const mode of ['off', 'soft', 'hard'] as const) columns.push(await column(folder, mode));
    const rows = leaves.map((leaf, at) => [leaf.meaning, ...columns.map((cells) => cells[at] ?? '')]);
    const lines = [['certificate', 'off', 'soft', 'hard'], ['---', '---', '---', '---'], ...rows].map(
      (cells) => `| ${cells.join(' | ')} |\n`,
    );
    return stable(lines.join(''), places);
  } finally {
    for (const one of running) await one.stop();
    lists.server.close();
  }
}

/** Ports and clocks differ from run to run, the table does not. */
function stable(text: string, places: ReadonlyMap<string, string>): string {
  let shown = text;
  for (const [address, name] of places) shown = shown.replaceAll(address, name);
  return shown;
}

async function column(folder: string, mode: RevocationMode): Promise<string[]> {
  const log = pino({ level: 'silent' });
  const open = (name: string) => makeCertificateFolder({ path: join(folder, name), log, now: Date.now });
  const [anchors, intermediates] = [open('anchors'), open('intermediates')];
  const cache = { folder: join(folder, `cache-${mode}`), writable: true };
  const recipients = openRecipientFolder({ path: join(folder, 'recipients'), log, cache });
  const options = { crls: undefined, fetchNetworks: ['127.0.0.0/8'], cache, now: Date.now, log };
  const revocation = openRevocation(options);
  const trust = makeTrust({ anchors, intermediates, now: Date.now, revocation: { policy: revocation.asking, mode } });
  const said: string[] = [];
  const noting: Trust = {
    judge: async (...question) => {
      const verdict = await trust.judge(...question);
      if (verdict.kind === 'trusted') said.push(verdict.revocation);
      return verdict;
    },
  };
  const sources = [makeFileSource(recipients)];
  const directory = makeDirectory({ sources, trust: noting, now: Date.now, log, patience: 20_000 });
  try {
    const cells: string[] = [];
    for (const leaf of leaves) {
      const lookup = await directory.lookup(mailboxOf(addressOf(leaf)));
      if (lookup.kind === 'found') cells.push(`sealed: ${said.pop()}`);
      else if (lookup.kind === 'absent') cells.push(`**550**: ${lookup.rejected[0]?.reason}`);
      else cells.push(`**451**: ${lookup.cause instanceof Error ? lookup.cause.message : ''}`);
    }
    return cells.map((cell) => cell.replace(/, it was good until [-\d: ]+UTC|, it expired on [-\d]+/g, ''));
  } finally {
    await revocation.close();
    await recipients.close();
    for (const one of [anchors, intermediates]) one.close();
  }
}

function makeAuthorities(folder: string, urlOf: (crl: string) => string): void {
  for (const name of ['anchors', 'intermediates', 'recipients', 'lists']) mkdirSync(join(folder, name));
  const names = { root: 'Root', sub: 'Sub CA', lost: 'Lost CA', narrow: 'Partner CA', stranger: 'Stranger' };
  const extensions = [...caExtensions, `crlDistributionPoints=URI:${urlOf('root')}`];
  make(folder, { name: 'root', subject: `/CN=${names.root}`, extensions: caExtensions });
  make(folder, { name: 'sub', issuer: 'root', subject: `/CN=${names.sub}`, extensions });
  make(folder, { name: 'lost', issuer: 'root', subject: `/CN=${names.lost}`, extensions });
  const narrow = [...extensions, 'nameConstraints=critical,permitted;email:partner.example'];
  make(folder, { name: 'narrow', issuer: 'root', subject: `/CN=${names.narrow}`, extensions: narrow });
  make(folder, { name: 'stranger', subject: `/CN=${names.stranger}`, extensions: caExtensions });
  const responds = ['extendedKeyUsage=OCSPSigning', 'keyUsage=digitalSignature', 'noCheck=ignored'];
  make(folder, { name: 'responder', issuer: 'sub', subject: '/CN=Responder', extensions: responds });
  copyFileSync(join(folder, 'root.pem'), join(folder, 'anchors', 'root.pem'));
  for (const name of ['sub', 'lost', 'narrow']) copyFileSync(join(folder, `${name}.pem`), join(folder, 'intermediates', `${name}.pem`));
}

/** One list of each CA, and those of Sub CA that are of no use. */
function makeLists(folder: string): void {
  const rows = (by: string): Row[] =>
    leaves
      .filter((leaf) => (leaf.by ?? 'sub') === by && leaf.status !== undefined)
      .map(({ name, status = 'V' }) => ({ certificate: read(folder, name), status }));
  const valid = leaves.filter((leaf) => leaf.by === undefined && leaf.status === undefined);
  writeIndex(folder, 'root.index', [{ certificate: read(folder, 'lost'), status: 'R 260503120000Z,cACompromise' }]);
  writeIndex(folder, 'sub.index', [...rows('sub'), ...valid.map(({ name }): Row => ({ certificate: read(folder, name), status: 'V' }))]);
  writeFileSync(join(folder, 'empty.index'), '');
  const list = (name: string, ca: string, index: string, dates: readonly string[] = ['-crldays', '2'], ...extensions: string[]): void => {
    const config = ['[ca]', 'default_ca=d', '[d]', `database=${index}`, 'default_md=sha256', 'crl_extensions=e', '[e]'];
    writeFileSync(join(folder, 'crl.cnf'), `${[...config, 'authorityKeyIdentifier=keyid', ...extensions].join('\n')}\n`);
    const by = ['-keyfile', `${ca}.key`, '-cert', `${ca}.pem`];
    run('openssl', ['ca', '-gencrl', '-config', 'crl.cnf', ...by, ...dates, '-out', `lists/${name}.pem`], folder);
    run('openssl', ['crl', '-in', `lists/${name}.pem`, '-outform', 'DER', '-out', `lists/${name}.crl`], folder);
  };
  list('root', 'root', 'root.index');
  list('sub', 'sub', 'sub.index');
  list('lost', 'lost', 'empty.index');
  list('narrow', 'narrow', 'empty.index');
  list('foreign', 'stranger', 'empty.index');
  list('stale', 'sub', 'empty.index', ['-crl_lastupdate', '20260101000000Z', '-crl_nextupdate', '20260102000000Z']);
  list('delta', 'sub', 'empty.index', ['-crldays', '2'], 'crlNumber=DER:020102', '2.5.29.27=critical,DER:020101');
}

async function serve(folder: string): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((request, response) => {
    try {
      response.end(readFileSync(join(folder, 'lists', (request.url ?? '').replace(/[^a-z.]/g, ''))));
    } catch {
      response.statusCode = 404;
      response.end();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { server, port: address.port };
}

/** docs/revocation.md with this table in it. */
export const withTable = (page: string, table: string): string =>
  page.replace(/(?<=<!-- verdicts -->\n).*?(?=<!-- end of verdicts -->)/s, () => `\n${table}\n`);

if (import.meta.main) {
  if (spawnSync('openssl', ['version']).status !== 0) throw new Error('openssl is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'sealpost-verdicts-'));
  try {
    const table = await verdicts(folder);
    process.stdout.write(table);
    if (process.argv.includes('--write')) writeFileSync(PAGE, withTable(readFileSync(PAGE, 'utf8'), table));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
