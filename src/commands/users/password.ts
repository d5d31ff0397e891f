/** A password from whoever types the command, or made for them; never from the command line, where every other user sees it. */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { ReadStream } from 'node:tty';
import { unreadable } from '../../document/yaml.ts';
import { SealpostError } from '../../errors.ts';
import type { Terminal } from '../terminal.ts';

export const MIN_LENGTH = 12;
const MAX_OCTETS = 1024;
/** Without i, l, o, 0, 1: somebody will read it from a screen. 24 of them are 118 bits. */
const LETTERS = 'abcdefghjkmnpqrstuvwxyz23456789';
const LENGTH = 24;

export const generatePassword = (): string =>
  Array.from({ length: LENGTH }, () => LETTERS[randomInt(LETTERS.length)])
    .join('')
    .replace(/(.{6})(?=.)/g, '$1-');

/** From `file` (`-` is standard input), a prompt where somebody sits there, else standard input. */
export async function readPassword(file: string | undefined, terminal: Terminal): Promise<string> {
  const { stdin } = terminal;
  if (file === undefined && stdin instanceof ReadStream) return askTwice(stdin, terminal);
  const written = file === undefined || file === '-' ? await text(stdin) : await readWhole(resolve(terminal.cwd, file));
  return assertGood(written.replace(/\r?\n$/, ''));
}

async function readWhole(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** Says nothing of the password itself. */
function assertGood(password: string): string {
  const bad = (detail: string): SealpostError =>
    new SealpostError('usage', { detail, hint: `at least ${MIN_LENGTH} characters on one line; --generate makes a good one` });
  if (/\p{Cc}/u.test(password)) throw bad('the password holds a line end or another control character');
  if (Array.from(password).length < MIN_LENGTH) throw bad(password === '' ? 'the password is empty' : 'the password is too short');
  if (Buffer.byteLength(password) > MAX_OCTETS) throw bad(`the password is longer than ${MAX_OCTETS} octets`);
  return password;
}

/** One line without echo; undefined where nobody sits there. */
export async function askHidden(what: string, { stdin, stderr }: Pick<Terminal, 'stdin' | 'stderr'>): Promise<string | undefined> {
  return stdin instanceof ReadStream ? askAt(stdin, what, stderr) : undefined;
}

async function askAt(stdin: ReadStream, what: string, stderr: Terminal['stderr']): Promise<string> {
  // Before the question: whoever types ahead of it is not shown either.
  stdin.setRawMode(true);
  try {
    stderr.write(what);
    return await readHidden(stdin);
  } finally {
    stdin.setRawMode(false);
    stderr.write('\n');
  }
}

async function askTwice(stdin: ReadStream, { stderr }: Terminal): Promise<string> {
  const ask = (what: string): Promise<string> => askAt(stdin, what, stderr);
  const password = assertGood(await ask('password: '));
  if ((await ask('once more: ')) !== password)
    throw new SealpostError('usage', { detail: 'the two passwords differ', hint: 'nothing was changed' });
  return password;
}

const keys = { interrupt: '\u0003', end: '\u0004', backspace: '\b', delete: '\u007f', kill: '\u0015' } as const;

/** One line of a terminal in raw mode, with as little of an editor as people expect. */
async function readHidden(stdin: ReadStream): Promise<string> {
  stdin.setEncoding('utf8');
  const { promise, resolve: done, reject } = Promise.withResolvers<string>();
  let line = '';
  const take = (typed: string): void => {
    for (const [index, key] of Array.from(typed).entries()) {
      if (key === '\r' || key === '\n') {
        // What was typed ahead is for whoever asks next.
        const rest = Array.from(typed)
          .slice(index + 1)
          .join('');
        stdin.pause();
        stdin.off('data', take);
        if (rest !== '') stdin.unshift(rest);
        return done(line);
      }
      if (key === keys.interrupt || key === keys.end)
        return reject(new SealpostError('usage', { detail: 'no password was given', hint: 'nothing was changed' }));
      if (key === keys.kill) line = '';
      else line = key === keys.backspace || key === keys.delete ? Array.from(line).slice(0, -1).join('') : line + key;
    }
  };
  stdin.on('data', take);
  stdin.once('end', () => reject(new SealpostError('usage', { detail: 'no password was given' })));
  stdin.resume();
  try {
    return await promise;
  } finally {
    stdin.off('data', take);
    stdin.pause();
  }
}
