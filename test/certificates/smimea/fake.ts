/** A resolver that answers as the test wants it, written with somebody else's DNS library. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Server } from 'node:net';
import { type Answer, type DecodedPacket, decode, encode, type Packet, streamEncode } from 'dns-packet';

export const AD = 1 << 5;
export const TC = 1 << 9;
const RECURSION = (1 << 8) | (1 << 7);

/** dns-packet writes type 53 under a name that its types do not know; NULL is the type whose data are octets as they are. */
export const SMIMEA: 'NULL' = JSON.parse('"UNKNOWN_53"');

export const smimeaAnswer = (name: string, data: Buffer, ttl = 300): Answer => ({ name, type: SMIMEA, class: 'IN', ttl, data });

export const cname = (name: string, data: string): Answer => ({ name, type: 'CNAME', class: 'IN', ttl: 300, data });

export interface Asked {
  readonly query: DecodedPacket;
  readonly name: string;
  readonly from: RemoteInfo;
  readonly overTcp: boolean;
}

/** An answer to `asked`, as a resolver that validates gives it; `packet` takes the place of its parts. */
export function answerTo({ query }: Asked, packet: Packet = {}, rcode = 0): Packet {
  return {
    type: 'response',
    id: query.id ?? 0,
    questions: query.questions ?? [],
    ...packet,
    flags: (packet.flags ?? AD) | RECURSION | rcode,
  };
}

/** `reply` gives a packet, octets as they are, or nothing: silence. */
export type Reply = (asked: Asked, socket: Socket) => Packet | Buffer | undefined;

export interface Fake {
  readonly address: string;
  readonly port: number;
  /** What was asked, in order: `udp NAME`. */
  readonly log: string[];
  readonly ids: number[];
  close(): void;
}

export async function fakeResolver(reply: Reply, address = '127.0.0.1'): Promise<Fake> {
  const [log, ids]: [string[], number[]] = [[], []];
  const note = (asked: Asked): Asked => {
    log.push(`${asked.overTcp ? 'tcp' : 'udp'} ${asked.name}`);
    ids.push(asked.query.id ?? -1);
    return asked;
  };
  const read = (octets: Buffer, from: RemoteInfo, overTcp: boolean): Asked => {
    const query = decode(octets);
    return note({ query, name: query.questions?.[0]?.name ?? '', from, overTcp });
  };
  const { socket, server } = await bindBoth(address);
  const { port } = socket.address();
  socket.on('message', (octets, from) => {
    const packet = reply(read(octets, from, false), socket);
    if (packet !== undefined) socket.send(Buffer.isBuffer(packet) ? packet : encode(packet), from.port, from.address);
  });
  server.on('connection', (stream) => {
    stream.on('error', () => {});
    stream.once('data', (octets) => {
      const from = { address: '127.0.0.1', port: stream.remotePort ?? 0, family: 'IPv4' as const, size: 0 };
      const packet = reply(read(octets.subarray(2), from, true), socket);
      if (packet !== undefined) stream.end(Buffer.isBuffer(packet) ? packet : streamEncode(packet));
    });
  });
  return {
    address,
    port,
    log,
    ids,
    close: () => {
      socket.close();
      server.close();
    },
  };
}

/** UDP and TCP on one port: the kernel gives one that is free for UDP, which another program may have for TCP. */
export async function bindBoth(address: string): Promise<{ readonly socket: Socket; readonly server: Server }> {
  for (;;) {
    const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4').bind(0, address);
    await once(socket, 'listening');
    const server = createServer().listen(socket.address().port, address);
    try {
      await once(server, 'listening');
      return { socket, server };
    } catch {
      socket.close();
    }
  }
}
