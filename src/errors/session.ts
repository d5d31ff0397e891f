/** What a client meets before it hands over a message: the relay itself, the envelope, TLS and login. */
import { type ErrorRow, row } from './row.ts';

export const sessionErrors = {
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
  'storage-hanging': row(
    451,
    '4.3.0',
    'the queue does not answer, please try again later',
    'look at the disk of the data folder, or at the file server behind it',
  ),
  'storage-refused': row(
    452,
    '4.3.1',
    'the queue has no room, please try again later',
    'the disk takes nothing though it says there is room: look at the quota of the user of the relay, and at df -i of the data folder',
  ),
  'descriptors-exhausted': row(
    451,
    '4.3.0',
    'the relay has no room for more, please try again later',
    'raise LimitNOFILE in its unit (ulimit -n), or lower limits.connections',
  ),
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
} as const satisfies Record<string, ErrorRow>;
