/** Ten thousand RCPT TO for one address that the directory does not know: what the relay asks of slapd, and how fast it refuses. */
import { connect } from 'node:net';
import { LOOPBACK } from '../../interop/ports.ts';
import { BASE, noSlapd, startSlapd } from '../../certificates/ldap/slapd.ts';
import { makeReplies } from '../load.ts';
import { startOurs } from '../ours.ts';
import type { Owner } from '../owner.ts';

const CLIENTS = 20;
const COMMANDS = 500;

export async function benchAbsent(print: (line: string) => void, owner: Owner): Promise<void> {
  if (noSlapd !== false) return print(`absent: skipped: ${noSlapd}`);
  const slapd = await startSlapd(owner);
  const ldap = { url: `ldap://${LOOPBACK}:${slapd.port}`, starttls: false, base: BASE };
  const config = { limits: { refusals: COMMANDS }, certificates: { sources: [{ ldap }] } };
  // Nothing is delivered.
  const { relay } = await startOurs(owner, { upstreamPort: 9, config });
  const start = performance.now();
  await Promise.all(Array.from({ length: CLIENTS }, () => refused(relay.port)));
  const seconds = (performance.now() - start) / 1000;
  await slapd.caughtUp();
  const [asked, count] = [slapd.searches(), CLIENTS * COMMANDS];
  print(
    `absent: ${count} RCPT TO for one absent address, ${CLIENTS} clients: ${(count / seconds).toFixed(0)} 550 a second, searches at slapd: ${asked}`,
  );
  if (asked !== 1) throw new Error(`${asked} searches for one address`);
}

async function refused(port: number): Promise<void> {
  const socket = connect({ port, host: LOOPBACK, noDelay: true });
  const reply = makeReplies(socket);
  const say = (line: string, wanted: string): Promise<void> => {
    socket.write(`${line}\r\n`);
    return reply(wanted);
  };
  await reply('220');
  await say('EHLO load.example', '250');
  await say('MAIL FROM:<forms@clinic.example>', '250');
  for (let sent = 0; sent < COMMANDS; sent++) await say('RCPT TO:<nobody@clinic.example>', '550');
  socket.destroy();
}
