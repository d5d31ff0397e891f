/** The listeners as a client finds them, and the upstreams as the relay does: greeted, under TLS, logged in, and left again without a mail. */
import { connect as connectTcp } from 'node:net';
import { checkServerIdentity, connect as connectTls, type PeerCertificate } from 'node:tls';
import type { Config } from '../../config.ts';
import type { Environment } from '../../config/environment.ts';
import { readUpstreamSecrets } from '../../config/upstream-secrets.ts';
import { openSession } from '../../delivery/connect.ts';
import { makeProtection } from '../../delivery/protection.ts';
import { rfcTimeouts } from '../../delivery/result.ts';
import { fault, type Finding, ok, warning } from './finding.ts';

/** For each step; shorter than the time of a whole check. */
const STEP_MS = 6000;
const QUIT_MS = 500;
/** More is no line of SMTP. */
const MAX_REPLY = 4096;

type Listener = Config['listen'][number];

/** `hostname`: the name of the relay, which its certificate is to hold. */
export async function inspectListener({ host, port, tls }: Listener, index: number, hostname: string): Promise<Finding[]> {
  const check = `listen[${index}]`;
  if (port === 0) return [ok(check, 'any free port: the log of the start names it')];
  const at = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  try {
    const shown = tls === 'implicit' ? await inTls(connectTls({ host: at, port, rejectUnauthorized: false })) : await talk(at, port, tls);
    return shown === undefined ? [ok(check, `port ${port} answers`)] : [judge(shown, { check, port, hostname })];
  } catch (error) {
    const why = error instanceof Error ? error.message : 'no reason';
    return [
      fault(check, `port ${port}: ${why.slice(0, 200)}`, 'is the relay running, and does another program own the port? its log says'),
    ];
  }
}

/** One line at a time, in clear; answers the certificate where TLS follows. */
async function talk(host: string, port: number, tls: Listener['tls']): Promise<Shown | undefined> {
  const socket = connectTcp({ host, port });
  socket.setTimeout(STEP_MS, () => socket.destroy(new Error('it does not answer in time')));
  const replies = repliesOf(socket);
  const next = async (code: string): Promise<string> => {
    const { value } = await replies.next();
    if (typeof value !== 'string' || !value.startsWith(code)) throw new Error(`it does not answer ${code}`);
    return value;
  };
  try {
    await next('220');
    socket.write('EHLO doctor.invalid\r\n');
    const offers = /^250[ -]STARTTLS\r?$/im.test(await next('250'));
    if (tls === 'off') return undefined;
    if (!offers) throw new Error('it does not offer STARTTLS');
    socket.write('STARTTLS\r\n');
    await next('220');
    return await inTls(connectTls({ socket, rejectUnauthorized: false }));
  } finally {
    socket.destroy();
  }
}

/** Whole replies, their continuation lines with them (RFC 5321 §4.2.1). */
async function* repliesOf(socket: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let text = '';
  for await (const chunk of socket) {
    text += chunk.toString('latin1');
    if (text.length > MAX_REPLY) throw new Error('it says too much');
    if (!/^\d{3} [^\n]*\n$/m.test(text)) continue;
    yield text;
    text = '';
  }
}

interface Shown {
  readonly certificate: PeerCertificate;
  /** Why it is not for the host that is asked for. */
  readonly nameFault: (hostname: string) => Error | undefined;
}

/** Without a name, as a client that was given an address: every listener has one certificate. */
function inTls(socket: ReturnType<typeof connectTls>): Promise<Shown> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(STEP_MS, () => socket.destroy(new Error('the TLS handshake does not end')));
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerCertificate();
      socket.destroy();
      resolve({ certificate, nameFault: (hostname) => checkServerIdentity(hostname, certificate) });
    });
  });
}

function judge({ certificate, nameFault }: Shown, { check, port, hostname }: { check: string; port: number; hostname: string }): Finding {
  const day = (date: string): string => new Date(date).toISOString().slice(0, 10);
  const [from, until] = [certificate.valid_from, certificate.valid_to];
  const shows = `port ${port} shows a certificate`;
  const mend = 'put a new one in its place: the relay takes it by itself';
  if (Date.parse(until) < Date.now()) return fault(check, `${shows} that expired on ${day(until)}`, mend);
  if (Date.parse(from) > Date.now()) return fault(check, `${shows} that is valid from ${day(from)} only`, mend);
  if (nameFault(hostname) !== undefined)
    return warning(check, `${shows} that is not for ${hostname}`, 'scripts that verify it must know the relay by another name');
  return ok(check, `port ${port} answers under TLS, its certificate ends ${day(until)}`);
}

export async function inspectUpstream(config: Config, index: number, env: Environment): Promise<Finding[]> {
  const check = `upstream[${index}]`;
  const upstream = config.upstream[index];
  if (upstream === undefined) return [];
  const { host, port } = upstream;
  const protection = makeProtection({ ...upstream, secrets: () => readUpstreamSecrets(upstream, env) });
  const about = { host, port, hostname: config.hostname, timeouts: rfcTimeouts, protection };
  const opening = await openSession(about, AbortSignal.timeout(STEP_MS));
  if (opening.kind === 'open') {
    const { session } = opening;
    const how = session.tls === null ? 'in clear' : session.tls.verified ? 'under verified TLS' : 'under TLS that is not verified';
    const size = Number(session.extensions.get('SIZE') ?? 0);
    const login = upstream.auth === undefined ? '' : ', logged in';
    await session.quit(QUIT_MS);
    const most = size > 0 ? `, takes ${Math.floor(size / 1024 / 1024)} MiB` : '';
    return [ok(check, `${host}:${port} answers ${how}${login}${most}`)];
  }
  // Its own words may quote an account: the code alone is shown.
  if (opening.kind === 'rejected')
    return [
      fault(
        check,
        `${host}:${port} says ${opening.reply.code} at ${opening.phase}`,
        'the log of that server says why; an account, a network that it does not know',
      ),
    ];
  const { cause, phase } = opening;
  if (cause.code === 'shutting-down')
    return [
      fault(
        check,
        `${host}:${port} does not answer in time at ${phase}`,
        'a firewall, a wrong port, or tls: starttls where it begins with TLS',
      ),
    ];
  return [fault(check, `${host}:${port} at ${phase}: ${cause.message.slice(0, 200)}`, cause.hint)];
}
