/**
 * AUTH to an upstream (RFC 4954): PLAIN, else LOGIN. What an upstream answers here is told by its code alone: it may quote what
 * it was sent, and that is the password. From what it says later in the session the login is struck.
 */
import { SealpostError } from '../errors.ts';
import type { UpstreamReply } from './reply.ts';
import type { Session } from './session.ts';

export interface Login {
  readonly user: string;
  readonly password: string;
}

/** RFC 4954 §4: go on; §6: done. */
const CONTINUE = 334;
const SUCCEEDED = 235;

/** `timeout`: milliseconds for each reply. Throws `upstream-auth-missing`, `upstream-auth-refused`, or what broke the session. */
export async function logIn(session: Session, { user, password }: Login, timeout: number): Promise<void> {
  const response = base64(`\0${user}\0${password}`);
  session.conceal([password, base64(password), response]);
  const offered = (session.extensions.get('AUTH') ?? '').toUpperCase().split(/\s+/);
  if (offered.includes('PLAIN')) {
    expect(await ask(session, `AUTH PLAIN ${response}`, timeout), SUCCEEDED);
  } else if (offered.includes('LOGIN')) {
    expect(await ask(session, 'AUTH LOGIN', timeout), CONTINUE);
    expect(await ask(session, base64(user), timeout), CONTINUE);
    expect(await ask(session, base64(password), timeout), SUCCEEDED);
  } else {
    // Its own list is hostile text, and of use: the names of mechanisms, nothing else.
    const names = offered.filter((name) => /^[A-Z0-9_-]{1,20}$/.test(name)).slice(0, 8);
    throw new SealpostError('upstream-auth-missing', { detail: names.length === 0 ? 'it offers none' : `it offers ${names.join(', ')}` });
  }
}

const base64 = (text: string): string => Buffer.from(text, 'utf8').toString('base64');

async function ask(session: Session, line: string, timeout: number): Promise<UpstreamReply> {
  session.send(line);
  return session.reply(timeout);
}

function expect({ code, status }: UpstreamReply, wanted: number): void {
  if (code === wanted) return;
  throw new SealpostError('upstream-auth-refused', { detail: status === undefined ? String(code) : `${code} ${status}` });
}
