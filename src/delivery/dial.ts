/** A TCP connection to an upstream, or the reason why there is none. */
import { BlockList, connect as netConnect, type Socket } from 'node:net';
import { SealpostError } from '../errors.ts';

export interface DialOptions {
  readonly host: string;
  readonly port: number;
  /** Milliseconds. */
  readonly timeout: number;
  /** Opens the socket; net.connect where tests do not say otherwise. */
  readonly connect?: ((host: string, port: number) => Socket) | undefined;
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/** Throws `upstream-unreachable`, or `shutting-down` where `signal` is aborted. */
export function dial({ host, port, timeout, connect = open }: DialOptions, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(host, port);
    const settle = (error?: SealpostError): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.removeListener('connect', onConnect);
      if (error === undefined) resolve(socket);
      else {
        socket.destroy();
        reject(error);
      }
    };
    const unreachable = (detail: string, cause?: unknown): void => settle(new SealpostError('upstream-unreachable', { detail, cause }));
    const onConnect = (): void => settle();
    const abort = (): void => settle(new SealpostError('shutting-down'));
    const timer = setTimeout(() => unreachable(`no connection in ${timeout} ms`), timeout);
    socket.once('connect', onConnect);
    // Stays for ever: an error between two owners of the socket must not end the process.
    socket.on('error', (error: NodeJS.ErrnoException) => unreachable(error.code ?? 'connection failed', error));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
  });
}

function open(host: string, port: number): Socket {
  // The dot waits for the mark in the queue, so it is a small write of its own: Nagle would hold it for the delayed ACK of the message, 40 ms.
  return netConnect({ host, port, autoSelectFamily: true, noDelay: true });
}

/** Where the socket really leads to: a name in the configuration may come to mean another machine. */
export function staysOnThisMachine(socket: Socket): boolean {
  const address = socket.remoteAddress ?? '';
  return loopback.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
}
