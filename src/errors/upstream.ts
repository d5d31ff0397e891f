/** What delivery meets at an upstream. */
import { type ErrorRow, row } from './row.ts';

export const upstreamErrors = {
  'upstream-unreachable': row(
    451,
    '4.4.1',
    'the upstream cannot be reached',
    'is it running, and do host and port under upstream fit? sealpost goes on trying',
  ),
  'upstream-lost': row(
    451,
    '4.4.2',
    'the conversation with the upstream broke off',
    'the log of the upstream may say why; sealpost tries again',
  ),
  'upstream-silent': row(
    451,
    '4.4.2',
    'the upstream did not answer in time',
    'it is overloaded, or something between drops packets; sealpost tries again',
  ),
  'upstream-paused': row(
    451,
    '4.4.5',
    'the upstream is not asked for now',
    'it could not be talked to, had too much, or its rate is used up; sealpost goes on by itself, queue retry asks it now',
  ),
  'upstream-protocol': row(
    451,
    '4.5.0',
    'the upstream does not speak SMTP as it should',
    'does the port under upstream belong to a mail server? sealpost tries again',
  ),
  'upstream-tls-missing': row(
    451,
    '4.7.5',
    'the upstream does not offer STARTTLS',
    'nothing is sent in clear: does the port want tls: implicit, or does something on the way take STARTTLS out?',
  ),
  'upstream-tls-failed': row(
    451,
    '4.7.5',
    'no TLS with the upstream',
    'it must speak TLS 1.2 or 1.3; does tls under upstream (starttls or implicit) fit the port?',
  ),
  'upstream-unverified': row(
    451,
    '4.7.5',
    "the upstream's certificate is not believed",
    'nothing is sent to a host that cannot prove its name: mend its certificate, name it as its certificate does, or give its CA as ca under upstream',
  ),
  'upstream-auth-missing': row(
    451,
    '4.7.4',
    'the upstream offers neither AUTH PLAIN nor AUTH LOGIN',
    'is it the submission port, and is TLS on? many hosts offer AUTH under TLS only; or take auth out under upstream',
  ),
  'upstream-auth-refused': row(
    451,
    '4.7.8',
    'the upstream refused the login',
    'mend user or password in auth under upstream; the password is read anew for each connection',
  ),
  'upstream-secret-unreadable': row(
    451,
    '4.3.5',
    'a certificate, key or password for the upstream cannot be used',
    'sealpost check says which; the relay reads it anew for each connection',
  ),
} as const satisfies Record<string, ErrorRow>;
