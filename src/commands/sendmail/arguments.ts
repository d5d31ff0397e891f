/**
 * The command line of /usr/sbin/sendmail, as forty years of scripts write it: one-letter options that may be joined (`-ti`),
 * values joined or apart (`-fA`, `-f A`), options before recipients. What has a meaning here is taken, what only tells another
 * mail system how to work is passed over, and everything else is a usage error: an option that is dropped in silence could be the
 * one that was to keep mail from going out.
 */
import { SealpostError } from '../../errors.ts';
import { notifyText, parseNotify } from '../../message/notify.ts';

export interface Invocation {
  /** `deliver` reads a message, `smtp` speaks SMTP (-bs), `queue-run` has nothing to do: the relay runs its queue by itself. */
  readonly mode: 'deliver' | 'smtp' | 'queue-run' | 'help';
  /** -t: recipients are read from the header. */
  readonly fromHeader: boolean;
  /** False with -i: a line with a dot alone is text. */
  readonly dotEnds: boolean;
  /** As written; undefined where none was given, '' or '<>' for the null sender. */
  readonly sender: string | undefined;
  /** -F: the name beside the sender in a From that the message lacks. */
  readonly name: string | undefined;
  /** NOTIFY, RET, ENVID (xtext) and BODY as they stand in SMTP; undefined where nothing was said. */
  readonly notify: string | undefined;
  readonly ret: 'FULL' | 'HDRS' | undefined;
  readonly envid: string | undefined;
  readonly body: '7BIT' | '8BITMIME' | undefined;
  /** -C: our configuration file. */
  readonly config: string | undefined;
  readonly verbose: boolean;
  /** -oeq: the exit status says it all. */
  readonly quiet: boolean;
  readonly recipients: readonly string[];
}

type Draft = { -readonly [Key in keyof Invocation]: Invocation[Key] };

/** Options whose value stands behind them, joined or as the next word. */
const TAKE_VALUE: ReadonlySet<string> = new Set('ABCFLNORVXbcefhopr');
/** What only other mail systems need: gateway, me too, no aliases, initial submission. -A, -L, -h and -p are passed over as well. */
const PASSED_OVER: ReadonlySet<string> = new Set('GmnU');

/** Throws `usage`, naming the option. */
export function readArguments(words: readonly string[]): Invocation {
  const draft: Draft = {
    mode: 'deliver',
    fromHeader: false,
    dotEnds: true,
    sender: undefined,
    name: undefined,
    notify: undefined,
    ret: undefined,
    envid: undefined,
    body: undefined,
    config: undefined,
    verbose: false,
    quiet: false,
    recipients: [],
  };
  const rest = [...words];
  for (;;) {
    const word = rest[0];
    if (word === undefined || word === '-' || !word.startsWith('-')) break;
    rest.shift();
    if (word === '--') break;
    if (word.startsWith('--')) readLong(draft, word, rest);
    else readLetters(draft, word.slice(1), rest);
  }
  const late = rest.find((word) => /^-[A-Za-z]/.test(word));
  if (late !== undefined && !words.includes('--')) throw usage(late, 'stands behind a recipient', 'options come before recipients');
  // Other mail systems run their queue beside; a message that comes with it must not be lost.
  const withMessage = draft.fromHeader || rest.length > 0;
  return { ...draft, mode: draft.mode === 'queue-run' && withMessage ? 'deliver' : draft.mode, recipients: rest };
}

function readLong(draft: Draft, word: string, rest: string[]): void {
  const [, name = '', value] = /^(--[a-z]+)(?:=(.*))?$/s.exec(word) ?? [];
  if (name === '--help') draft.mode = 'help';
  else if (name === '--config') draft.config = value ?? nextOf(name, rest);
  else throw usage(word, 'is not known');
}

function readLetters(draft: Draft, letters: string, rest: string[]): void {
  for (let at = 0; at < letters.length; at++) {
    const letter = letters.charAt(at);
    const joined = letters.slice(at + 1);
    if (TAKE_VALUE.has(letter)) return readValue(draft, letter, joined === '' ? nextOf(`-${letter}`, rest) : joined);
    // Its value is never a word of its own: -q and -q15m are both in use.
    if (letter === 'q') {
      if (draft.mode === 'deliver') draft.mode = 'queue-run';
      return;
    }
    if (letter === 'i') draft.dotEnds = false;
    else if (letter === 't') draft.fromHeader = true;
    else if (letter === 'v') draft.verbose = true;
    else if (!PASSED_OVER.has(letter)) throw usage(`-${letter}`, 'is not known');
  }
}

function nextOf(option: string, rest: string[]): string {
  const value = rest.shift();
  if (value === undefined) throw usage(option, 'wants a value');
  return value;
}

function readValue(draft: Draft, letter: string, value: string): void {
  switch (letter) {
    case 'f':
    case 'r':
      draft.sender = value;
      return;
    case 'F':
      draft.name = value;
      return;
    case 'C':
    case 'c':
      draft.config = value;
      return;
    case 'N':
      draft.notify = readNotify(value);
      return;
    case 'R':
      draft.ret = oneOf('-R', value, ['FULL', 'HDRS']);
      return;
    case 'B':
      draft.body = oneOf('-B', value, ['7BIT', '8BITMIME']);
      return;
    case 'V':
      draft.envid = xtext(value);
      return;
    case 'b':
      draft.mode = readMode(value);
      return;
    case 'o':
      readOption(draft, value.charAt(0), value.slice(1));
      return;
    case 'e':
      readOption(draft, 'e', value);
      return;
    case 'O':
      readLongOption(draft, value);
      return;
    case 'X':
      throw usage('-X', 'would write the mail to a file in clear', 'sealpost audit show tells what became of a message');
    default: // -A, -L, -h, -p
      return;
  }
}

function readMode(mode: string): Invocation['mode'] {
  if (mode === 'm') return 'deliver';
  if (mode === 's') return 'smtp';
  const instead: Readonly<Record<string, string>> = {
    d: 'sealpost serve runs the relay',
    p: 'sealpost queue list shows the queue',
    v: 'sealpost explain --from A --to B says what would happen',
    t: 'sealpost explain --from A --to B says what would happen',
  };
  throw usage(`-b${mode}`, 'does not work here', instead[mode.charAt(0)] ?? '-bm takes a message, -bs speaks SMTP');
}

/** -oX: two of them mean something here. */
function readOption(draft: Draft, letter: string, value: string): void {
  if (letter === 'i') draft.dotEnds = false;
  else if (letter === 'e') draft.quiet = value.startsWith('q');
}

/** -O Name=value, by the names that sendmail gave the letters later. */
function readLongOption(draft: Draft, option: string): void {
  const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(option.trim()) ?? [];
  if (name.toLowerCase() === 'ignoredots') draft.dotEnds = /^(?:f|n|0)/i.test(value);
  if (name.toLowerCase() === 'errormode') readOption(draft, 'e', value);
}

function readNotify(value: string): string | undefined {
  const asked = parseNotify(value);
  if (asked === undefined) throw usage(`-N ${show(value)}`, 'is not known', 'never, or a list of success, failure, delay');
  return notifyText(asked) ?? undefined;
}

function oneOf<const Word extends string>(option: string, value: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === value.toUpperCase());
  if (found === undefined) throw usage(`${option} ${show(value)}`, 'is not known', words.join(' or '));
  return found;
}

/** RFC 3461 §4.4: at most 100 characters. */
const LONGEST_ENVID = 100;

/** RFC 3461 §4: what may not stand in a parameter as it is becomes +HH. */
function xtext(value: string): string {
  const encoded = value.replace(/[+= ]/g, (character) => `+${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);
  if (!/^[\x21-\x7e]+$/.test(encoded) || encoded.length > LONGEST_ENVID)
    throw usage('-V', 'wants a short id', `printable ASCII, at most ${LONGEST_ENVID} characters`);
  return encoded;
}

const show = (value: string): string => JSON.stringify(value.slice(0, 64));

function usage(option: string, wrong: string, hint = 'sealpost sendmail --help lists the options'): SealpostError {
  return new SealpostError('usage', { detail: `${printable(option)} ${wrong}`, hint });
}

const printable = (text: string): string => text.slice(0, 80).replace(/[^\x20-\x7e]/g, '?');
