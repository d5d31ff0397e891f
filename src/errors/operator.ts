/** What an operator's files and commands meet. */
import { type ErrorRow, row } from './row.ts';

export const operatorErrors = {
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
  'sandbox-failed': row(
    451,
    '4.3.0',
    'the relay cannot shut itself in',
    'it runs under the permission model of Node 24 or not at all: start it as sealpost serve, with the Node of the package, on Linux or macOS',
  ),
  usage: row(451, '4.3.0', 'that command line is not right', 'sealpost help COMMAND'),
} as const satisfies Record<string, ErrorRow>;
