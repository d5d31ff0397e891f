/**
 * One error type and one table. Whoever meets a failure names its code; the table says what an SMTP client is told, whether
 * trying again can help, and what the operator can do. docs/errors.md lists every row; a test holds it to this table.
 *
 * A foreign error is wrapped where the foreign library was called, with `cause`. What reaches a reply without a code is
 * `internal`: 451, never a bounce, never the text of a foreign exception (P5).
 */

/** The parts of an SMTP reply: RFC 5321 §4.2 code, RFC 3463 enhanced status, one line of text. */
export interface Reply {
  readonly code: number;
  readonly status: string;
  readonly text: string;
}

interface ErrorRow extends Reply {
  /** What the operator can do about it: a sentence, with a command to paste where there is one. */
  readonly hint: string;
}

const row = (code: number, status: string, text: string, hint: string): ErrorRow => ({ code, status, text, hint });

export const errorTable = {
  // The unknown, and what passes by itself.
  internal: row(
    451,
    '4.3.0',
    'temporary failure, please try again later',
    'a fault in sealpost: the log line with this code holds the cause',
  ),
  'shutting-down': row(421, '4.3.2', 'the relay is stopping, please try again later', 'nothing to do: the client will come back'),
  'storage-failed': row(
    451,
    '4.3.0',
    'the queue cannot be written, please try again later',
    'look at the disk and the permissions of the data folder; the log line holds the cause',
  ),
  'storage-full': row(452, '4.3.1', 'the queue has no room, please try again later', 'make room on the file system of the data folder'),
  'too-many-connections': row(421, '4.7.0', 'too many connections, please try again later', 'raise limits.connections'),
  'too-many-from-address': row(
    421,
    '4.7.0',
    'too many connections from your address, please try again later',
    'raise limits.connections_per_address, or let the scripts of that host close what they do not use',
  ),
  'made-room': row(
    421,
    '4.7.0',
    'closed to make room for others, please try again later',
    'all of limits.connections were taken, and this client had done nothing for longest',
  ),
  'too-many-refusals': row(421, '4.7.0', 'too much was refused in this session', 'look at what the client sends, or raise limits.refusals'),
  'too-slow': row(
    421,
    '4.4.2',
    'that took too long',
    'the client, or the network to it, is slow or stuck; else raise timeouts or lower limits.data_rate',
  ),
  'too-busy': row(
    452,
    '4.3.1',
    'too much is under way, please try again later',
    'nothing to do if it passes; else raise limits.in_flight_bytes',
  ),

  // The client and its envelope.
  'relay-denied': row(550, '5.7.1', 'this relay does not take mail from you', "add the client's network to clients.networks"),
  'not-smtp': row(421, '4.7.0', 'this is not SMTP', 'something else than a mail client talked to the port'),
  'address-invalid': row(501, '5.1.3', 'that is not a mail address', 'the script writes the address wrongly: local@domain, nothing else'),
  'sender-invalid': row(501, '5.1.7', 'that is not a sender address', 'the script writes its sender wrongly: local@domain or <>'),
  'recipient-missing': row(
    550,
    '5.1.3',
    'no recipient is named',
    'name recipients on the command line, or in To, Cc or Bcc where sendmail -t reads them',
  ),
  'address-needs-smtputf8': row(
    553,
    '5.6.7',
    'an address outside ASCII needs SMTPUTF8',
    'let the script say SMTPUTF8, or use an ASCII address',
  ),
  'too-many-recipients': row(452, '4.5.3', 'too many recipients', 'raise limits.recipients, or let the script send several messages'),
  'command-out-of-order': row(503, '5.5.1', 'that command comes out of order', 'EHLO, then MAIL, RCPT, DATA'),
  'command-too-long': row(500, '5.5.2', 'the line is too long', 'a command line holds 512 octets and its parameters (RFC 5321 4.5.3.1.4)'),
  'command-unimplemented': row(502, '5.5.1', 'that command is not implemented', 'nothing to do: the client can send without it'),
  'parameter-invalid': row(
    501,
    '5.5.4',
    'a parameter of that command is wrong',
    'the script writes SIZE, BODY, SMTPUTF8 or a parameter of RFC 3461 wrongly, or twice',
  ),
  'parameter-unknown': row(
    555,
    '5.5.4',
    'a parameter that this relay does not offer',
    'let the script use only what the reply to EHLO lists',
  ),
  'client-rate-exceeded': row(
    452,
    '4.3.2',
    'too many messages from your address, please try again later',
    'raise limits.client_rate, or let the script send less at once',
  ),
  'user-rate-exceeded': row(
    450,
    '4.7.1',
    'too many messages from this user, please try again later',
    'raise the rate of the user in the users file, or let the script send less at once',
  ),

  // TLS and login at the listeners.
  'starttls-required': row(
    530,
    '5.7.0',
    'must issue STARTTLS first',
    'let the script use STARTTLS; only clients on this machine go without',
  ),
  'encryption-required': row(
    538,
    '5.7.11',
    'authentication needs TLS first',
    'let the script use STARTTLS or the port with implicit TLS; a listener has TLS once tls, cert and key are set',
  ),
  'authentication-required': row(530, '5.7.0', 'authentication required', 'the listener says auth: required: let the script log in'),
  'client-certificate-required': row(
    530,
    '5.7.0',
    'a client certificate that is known here is required',
    'put the SHA-256 fingerprint of the certificate beside its user in the users file; is it valid now?',
  ),
  'login-refused': row(535, '5.7.8', 'name or password is wrong', 'sealpost users list shows who there is'),
  'login-unavailable': row(
    454,
    '4.7.0',
    'logins cannot be checked now, please try again later',
    'the users file cannot be read, too many log in at once, or the address failed too often: the log says which',
  ),
  'login-ended': row(
    421,
    '4.7.0',
    'your login has changed, please connect and log in again',
    'the user was removed or has another password; sealpost users list shows who there is',
  ),
  'too-many-failed-logins': row(
    421,
    '4.7.0',
    'too many failed logins',
    'a script has a wrong password, or somebody guesses: the log has the address',
  ),
  'auth-malformed': row(501, '5.5.2', 'that is not how to log in', 'AUTH PLAIN or AUTH LOGIN with base64 behind it (RFC 4954)'),
  'auth-cancelled': row(501, '5.7.0', 'the login was cancelled', 'nothing to do: the client gave up'),
  'auth-mechanism-unknown': row(504, '5.5.4', 'that way of logging in is not offered', 'let the script use PLAIN or LOGIN'),
  'sender-not-allowed': row(550, '5.7.1', 'you may not send as that sender', "add the sender to the user's entry in the users file"),
  'recipient-not-allowed': row(
    550,
    '5.7.1',
    'you may not send to that recipient',
    "add the recipient to the user's entry in the users file",
  ),
  'listener-certificate-unusable': row(
    451,
    '4.3.0',
    'the certificate of a listener cannot be used',
    'cert is a PEM chain, the own certificate first, and key its private key without a passphrase',
  ),

  // The message.
  'message-too-big': row(552, '5.3.4', 'the message is too big', 'raise limits.message_bytes, and look at what the upstream takes'),
  'sealed-too-big': row(
    552,
    '5.3.4',
    'the message is too big for the mail server behind this relay once it is sealed',
    'raise the message size limit of the upstream: sealing makes a message about two fifths larger',
  ),
  'header-too-big': row(
    552,
    '5.3.4',
    'the header of the message is too big',
    'headers end at 256 KiB: the script forgot the empty line after them',
  ),
  'header-malformed': row(
    550,
    '5.6.0',
    'the header of the message is malformed',
    'a line of the header that is neither a field nor a continuation',
  ),
  'bare-line-end': row(
    550,
    '5.6.0',
    'the message holds line ends other than CRLF',
    'let the program write CRLF; only clients in clients.networks have their line ends mended',
  ),
  'message-has-nul': row(550, '5.6.0', 'the message holds a NUL octet', 'binary content wants base64 (RFC 5321 §2.4)'),
  'mail-loop': row(
    554,
    '5.4.6',
    'the message passed too many hops, it goes in a circle',
    'the upstream hands mail back to this relay: look at its routes',
  ),
  'message-incomplete': row(
    451,
    '4.4.2',
    'the message ended before its end was said',
    'the client left while it was sending; it will come back',
  ),

  // Policy and certificates.
  'policy-refused': row(550, '5.7.1', 'a rule of this relay refuses that', 'sealpost explain --from A --to B says which rule'),
  'certificate-missing': row(
    550,
    '5.7.1',
    'no usable certificate for that recipient, and mail in clear is not allowed',
    'sealpost certs lookup ADDRESS says why; sealpost certs add takes a new one',
  ),
  'lookup-unavailable': row(
    451,
    '4.4.3',
    'the certificate look-up is unavailable, please try again later',
    'a source of certificates gives no usable answer, revocation is not known now, or a changed certificate waits for approval: the log of the relay and sealpost certs lookup say which',
  ),
  'certificate-malformed': row(550, '5.7.1', 'a certificate cannot be read', 'the file is damaged or not an X.509 certificate'),
  'already-issued': row(550, '5.7.1', 'nothing was issued', 'sealpost certs renew ADDRESS makes the next one'),
  'nothing-usable': row(550, '5.7.1', 'there is no usable certificate', 'sealpost certs lookup ADDRESS says why; certs add takes one'),
  'not-in-house': row(550, '5.7.1', 'not issued by the in-house CA', 'sealpost certs list shows what there is'),
  'certificate-unusable': row(550, '5.7.1', 'a certificate cannot be used', 'the reason stands beside it'),
  'harvest-refused': row(
    550,
    '5.7.1',
    'no certificate is taken from that mail',
    'the reason stands beside it: a signed mail, unchanged, whose certificate names the From address and is from a CA that you trust',
  ),
  'harvest-full': row(
    452,
    '4.3.1',
    'too many certificates wait for approval, please try again later',
    'sealpost certs pending shows them: approve or reject some',
  ),
  'code-refused': row(451, '4.3.0', 'that code confirms nothing', 'sealpost certs try ADDRESS sends a new one'),
  'key-malformed': row(550, '5.7.1', 'a private key cannot be read', 'PEM, DER or PKCS#12; is the password right?'),

  // Reading sealed mail.
  'message-not-sealed': row(550, '5.6.0', 'that is not a sealed message', 'open takes an S/MIME enveloped message or its smime.p7m'),
  'message-not-for-key': row(550, '5.7.5', 'that message is not sealed for this key', 'it names other readers: use the key of one of them'),
  'message-tampered': row(
    550,
    '5.7.7',
    'the sealed message was changed on its way',
    'its authentication code does not fit: do not trust what it shows',
  ),

  // The queue.
  'queue-in-use': row(451, '4.3.0', 'another sealpost owns the queue', 'one relay at a time; sealpost queue talks to the running one'),
  'queue-newer': row(451, '4.3.0', 'the queue was written by a newer release', 'run the release that wrote it, or a newer one'),
  'queue-item-damaged': row(451, '4.3.0', 'a queued message is damaged', 'it is set aside and not sent; sealpost queue show names it'),
  'data-folder-unsafe': row(
    451,
    '4.3.0',
    'the data folder is not safe to use',
    'everything in it must belong to the user the relay runs as, and be closed to others: chmod -R go= on the folder',
  ),
  'queue-id-unknown': row(451, '4.3.0', 'no such message in the queue', 'sealpost queue list shows what is there'),
  'audit-failed': row(
    451,
    '4.3.0',
    'the audit log cannot be written, please try again later',
    'look at the disk and the permissions of the audit file',
  ),
  'audit-broken': row(
    451,
    '4.3.0',
    'the audit log does not fit its chain',
    'somebody changed it, or the disk did: sealpost audit verify names the line',
  ),
  'relay-unreachable': row(451, '4.4.1', 'the relay cannot be reached', 'start it: sealpost serve; its log says why it does not answer'),
  'relay-not-running': row(451, '4.3.0', 'no relay is running on this data folder', 'start it: sealpost serve'),

  // The upstream.
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

  // The operator's side.
  'config-invalid': row(451, '4.3.0', 'the configuration is not valid', 'each fault is listed with its place and its mend'),
  'users-invalid': row(451, '4.3.0', 'the users file is not valid', 'each fault is listed with its place and its mend'),
  'users-busy': row(451, '4.3.0', 'another command is changing the users', 'try again; where no command runs, delete that file'),
  'user-unknown': row(451, '4.3.0', 'no such user', 'sealpost users list shows who is there'),
  'policy-invalid': row(451, '4.3.0', 'the policies are not valid', 'each fault is listed with its place and its mend'),
  'file-unreadable': row(451, '4.3.0', 'a file cannot be read', 'look at its path and permissions'),
  'file-unwritable': row(451, '4.3.0', 'a file or folder cannot be written', 'look at its path, its permissions and the room on its disk'),
  'file-exists': row(451, '4.3.0', 'a file is in the way', 'nothing is overwritten: move it away, or choose another place'),
  'check-failed': row(451, '4.3.0', 'not all is well', 'mend what is listed above, then sealpost check again'),
  'listen-failed': row(451, '4.3.0', 'a listener cannot be opened', 'is the port taken, or below 1024 without the right to it?'),
  usage: row(451, '4.3.0', 'that command line is not right', 'sealpost help COMMAND'),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorOptions {
  /** What exactly and where: an address, a path with line, a count. Shown to clients too, so never content or secrets. */
  readonly detail?: string;
  /** Takes the place of the table's hint where the place of failure knows better. */
  readonly hint?: string;
  readonly cause?: unknown;
}

export class SealpostError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly hint: string;

  constructor(code: ErrorCode, options: ErrorOptions = {}) {
    const entry = errorTable[code];
    super(options.detail === undefined ? entry.text : `${entry.text}: ${options.detail}`, { cause: options.cause });
    this.name = 'SealpostError';
    this.code = code;
    this.detail = options.detail;
    this.hint = options.hint ?? entry.hint;
  }

  /** True where trying again can help (4yz). */
  get temporary(): boolean {
    return errorTable[this.code].code < 500;
  }

  get reply(): Reply {
    const { code, status } = errorTable[this.code];
    return { code, status, text: this.message };
  }
}

/** Any thrown value as the error the table knows; what has no code is `internal`, with the value as cause. */
export function asSealpostError(thrown: unknown): SealpostError {
  return thrown instanceof SealpostError ? thrown : new SealpostError('internal', { cause: thrown });
}
