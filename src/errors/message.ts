/** What is wrong with a message, or with sealed mail that is read. */
import { type ErrorRow, row } from './row.ts';

export const messageErrors = {
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
} as const satisfies Record<string, ErrorRow>;
