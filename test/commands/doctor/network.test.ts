/** The listeners as `doctor` finds them: one that shows a good certificate, and those whose clients would go away. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer as createTcp, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createSecureContext, createServer as createTls, TLSSocket } from 'node:tls';
import { inspectListener } from '../../../src/commands/doctor/network.ts';
import { noOpenssl } from '../../certificates/openssl.ts';
import { type Identities, type Identity, makeIdentities } from '../../delivery/tls-peer.ts';

async function portOf(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function look(server: Server, tls: 'off' | 'starttls' | 'implicit'): Promise<string> {
  const port = await portOf(server);
  try {
    const listener = {
      host: '127.0.0.1',
      port,
      tls,
      auth: 'optional',
      cert: undefined,
      key: undefined,
      clientCertificates: 'off',
    } as const;
    const [found] = await inspectListener(listener, 0, 'localhost');
    return `${found?.verdict}: ${found?.text.replace(`port ${port} `, '').replace(/\d{4}-\d\d-\d\d/, 'DAY')}`;
  } finally {
    server.close();
  }
}

/** Says each line to a line; `upgrade` behind the answer to STARTTLS. */
const speaks = (lines: Readonly<Record<string, string>>, upgrade?: (socket: Socket) => void): Server =>
  createTcp((socket) => {
    socket.on('error', () => {});
    socket.write('220 relay.test\r\n');
    const hear = (chunk: Buffer): void => {
      const verb = chunk.toString().split(/[\s]/)[0] ?? '';
      socket.write(`${lines[verb] ?? '500 what'}\r\n`);
      if (verb !== 'STARTTLS' || upgrade === undefined) return;
      socket.off('data', hear);
      upgrade(socket);
    };
    socket.on('data', hear);
  });

describe('the check of a listener', { skip: noOpenssl }, () => {
  let identities: Identities;
  before(() => {
    identities = makeIdentities();
  });
  const sockets = new Set<Socket>();
  after(() => sockets.forEach((socket) => socket.destroy()));
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => {});
  };
  const implicit = ({ cert, key }: Identity): Server => createTls({ cert, key }, keep);
  const offering = { EHLO: '250-relay.test\r\n250 STARTTLS', STARTTLS: '220 go on' };
  const starttls = ({ cert, key }: Identity): Server =>
    speaks(offering, (socket) => keep(new TLSSocket(socket, { isServer: true, secureContext: createSecureContext({ cert, key }) })));

  for (const [mode, serverOf] of [
    ['implicit', implicit],
    ['starttls', starttls],
  ] as const)
    test(`${mode}: a good certificate, one that has expired, one for another name`, async () => {
      assert.equal(await look(serverOf(identities.good), mode), 'ok: answers under TLS, its certificate ends DAY');
      assert.equal(await look(serverOf(identities.expired), mode), 'fault: shows a certificate that expired on DAY');
      assert.equal(await look(serverOf(identities.otherName), mode), 'warning: shows a certificate that is not for localhost');
    });

  test('no STARTTLS where it is configured, another program on the port, and a listener in clear', async () => {
    assert.match(await look(speaks({ EHLO: '250 relay.test' }), 'starttls'), /^fault: port \d+: it does not offer STARTTLS$/);
    assert.match(await look(speaks({}), 'off'), /^fault: port \d+: it does not answer 250$/);
    assert.equal(await look(speaks({ EHLO: '250 relay.test' }), 'off'), 'ok: answers');
  });
});
