/**
 * The log: one JSON object a line, or short lines for a person. Messages are static; everything variable is an attribute.
 * Hostile text reaches attributes (HELO names, replies of upstreams), so control and bidi characters are escaped and long
 * values cut (A33). Foreign errors reach it too, and their texts like to quote what they choked on: quotes are blanked (P2).
 */
import { pino, type DestinationStream, type Logger } from 'pino';
import { SealpostError } from './errors.ts';

export interface LogOptions {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  readonly format: 'json' | 'pretty';
  /** Milliseconds since the epoch; the system's clock where it is not given. */
  readonly now?: () => number;
}

const MAX_VALUE = 1024;
const MAX_FOREIGN_MESSAGE = 600;
const MAX_DEPTH = 6;
const MAX_CAUSES = 4;
const MAX_FRAMES = 8;

/** Controls, formats (bidi marks among them), line and paragraph separators, lone surrogates. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

export function makeLog(options: LogOptions, destination: DestinationStream): Logger {
  const now = options.now ?? Date.now;
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date(now()).toISOString()}"`,
      formatters: { level: (level) => ({ level }), log: cleanAttributes, bindings: cleanAttributes },
      // Pino's own would take what describeError made for an error, and put its causes into one text.
      serializers: { err: (described: unknown) => described },
      // Of an error alone, pino makes its text the message; here the message stays static and the error an attribute.
      hooks: {
        logMethod(args, method) {
          const [first, second] = args as unknown[];
          const message = typeof second === 'string' ? second : 'no message';
          if (first instanceof Error) method.apply(this, [{ err: first }, message]);
          else if (typeof first === 'object' && first !== null) method.apply(this, [first, message]);
          else method.apply(this, args);
        },
      },
    },
    options.format === 'json' ? destination : { write: (line) => destination.write(prettyLine(line)) },
  );
}

const cleanAttributes = (attributes: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, clean(value, 0)]));

function clean(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return escape(value);
  if (value instanceof Error) return describeError(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  // Octets are content until proven otherwise.
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} octets]`;
  if (depth === MAX_DEPTH) return '[deeper]';
  if (Array.isArray(value)) return value.map((item) => clean(item, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [escape(name), clean(item, depth + 1)]));
}

function escape(text: string): string {
  const short = text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}[${text.length - MAX_VALUE} more]` : text;
  return short.replace(UNSAFE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/** An error and what caused it: code and detail of ours; name, code, a blanked text and the place of foreign ones. */
export function describeError(error: unknown): Record<string, unknown> {
  return describeChain(error, MAX_CAUSES);
}

function describeChain(error: unknown, left: number): Record<string, unknown> {
  if (!(error instanceof Error)) return { thrown: error === null ? 'null' : typeof error };
  const ours = error instanceof SealpostError;
  const code: unknown = 'code' in error ? error.code : undefined;
  const at = ours ? [] : frames(error);
  return {
    name: escape(error.name),
    ...(typeof code === 'string' || typeof code === 'number' ? { code: typeof code === 'string' ? escape(code) : code } : {}),
    ...(ours && error.detail !== undefined ? { detail: escape(error.detail) } : {}),
    ...(ours ? {} : { message: foreignMessage(error), ...(at.length === 0 ? {} : { at }) }),
    ...(error.cause === undefined || left === 0 ? {} : { cause: describeChain(error.cause, left - 1) }),
  };
}

/** A system error's text names a call and a path or port, and is kept. Others quote their input: what is quoted or an address goes. */
function foreignMessage(error: Error): string {
  const system = 'syscall' in error && typeof error.syscall === 'string';
  const [line = ''] = error.message.slice(0, MAX_VALUE).split(/[\r\n]/);
  const text = system ? line : line.replace(/(["'`]).*(?:\1|$)/, '[quoted]').replace(/\S+@\S+/g, '[address]');
  return escape(text.length > MAX_FOREIGN_MESSAGE ? `${text.slice(0, MAX_FOREIGN_MESSAGE)}…` : text);
}

/** Only the frames: the first lines of a stack repeat the message. */
function frames(error: Error): string[] {
  const lines = (error.stack ?? '').split('\n').filter((line) => /^ {4}at /.test(line));
  return lines.slice(0, MAX_FRAMES).map((line) => escape(line.trim()));
}

/** `12:34:56.789 info  message queued queue_id=… octets=512`, from one JSON line of pino's. */
function prettyLine(line: string): string {
  const parsed: Record<string, unknown> = JSON.parse(line);
  const { level, time, msg, ...attributes } = parsed;
  const pairs = Object.entries(attributes).map(([name, value]) => ` ${name}=${prettyValue(value)}`);
  return `${String(time).slice(11, 23)} ${String(level).padEnd(5)} ${String(msg)}${pairs.join('')}\n`;
}

function prettyValue(value: unknown): string {
  return typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
