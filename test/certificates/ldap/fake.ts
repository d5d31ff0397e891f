/** A server that answers LDAP as the test says, right or wrong. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { octetString, sequence, set, tlv } from '../../../src/certificates/encode.ts';
import { type Owner, portOf } from './slapd.ts';

const enumerated = (value: number): Buffer => tlv(0x0a, Buffer.from([value]));
const integer = (value: number): Buffer =>
  tlv(0x02, Buffer.from([(value >> 24) & 0x7f, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff]));
const text = (value: string): Buffer => octetString(Buffer.from(value));

/** LDAPMessage (RFC 4511 §4.1.1) around an operation. */
export const message = (id: number, operation: Buffer): Buffer => sequence(integer(id), operation);
export const result = (tag: number, code: number, said = 'said by the server'): Buffer => tlv(tag, enumerated(code), text(''), text(said));
export const done = (code = 0): Buffer => result(0x65, code);
export const entry = (name: string, attributes: Readonly<Record<string, readonly Buffer[]>>): Buffer =>
  tlv(
    0x64,
    text(name),
    sequence(
      ...Object.entries(attributes).map(([type, values]) => sequence(text(type), set(...values.map((value) => octetString(value))))),
    ),
  );

const LDAP_MESSAGE = 0x30;

export interface Fake {
  readonly port: number;
  /** Connections so far. */
  connections(): number;
  /** Tags of the operations that were asked, in order. */
  asked(): readonly number[];
}

/** `reply` is called for each request, with the tag of its operation. */
export async function startFake(owner: Owner, reply: (socket: Socket, id: number, operation: number) => void): Promise<Fake> {
  const sockets = new Set<Socket>();
  const asked: number[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    // What is no LDAP, such as a ClientHello, is not answered. What these tests ask comes in one piece: 30 LENGTH 02 1 ID OPERATION. Several may come at once.
    socket.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length && chunk[at] === LDAP_MESSAGE;) {
        const form = chunk[at + 1] ?? 0;
        const from = at + 2 + (form & 0x80 ? form & 0x7f : 0);
        const end = from + (form & 0x80 ? chunk.readUIntBE(at + 2, form & 0x7f) : form);
        const octets = chunk[from + 1] ?? 0;
        const operation = chunk[from + 2 + octets] ?? 0;
        asked.push(operation);
        reply(socket, chunk.readUIntBE(from + 2, octets), operation);
        at = end;
      }
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  owner.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return { port: portOf(server), connections: () => connections, asked: () => asked };
}
