/** `sealpost explain`: for each recipient the rules that were tried, the certificate, what everybody can read, the reply. */
import { Readable } from 'node:stream';
import { Command } from 'commander';
import type { AddressBook } from '../certificates/address-book.ts';
import { loadConfig } from '../config.ts';
import { SealpostError } from '../errors.ts';
import { writeMailbox } from '../message/addresses.ts';
import { parseMailbox } from '../message/envelope.ts';
import { contentFacts } from '../message/facts.ts';
import type { Mailbox } from '../message/envelope.ts';
import { decideRecipient } from '../decision.ts';
import { makeRuleSet, matchRule, refusal } from '../policy/decide.ts';
import type { Decision, Dress, FromPolicy, Rule } from '../policy/decide.ts';
import type { Condition, Facts, Truth } from '../policy/condition.ts';
import { loadRules } from '../policy/rules.ts';
import { renderSubject } from '../policy/subject.ts';
import { accountOf, type CertificateAccount, certificateLines, printable, printableJson } from './certificates/account.ts';
import { pathsOf } from './certificates/paths.ts';
import { withSite } from './certificates/site.ts';
import type { BuildCommand } from './terminal.ts';

interface TriedRule {
  readonly rule: string;
  readonly match: Truth;
  readonly because: string;
}

/** One recipient, as `--json` prints it. */
export interface Account {
  readonly recipient: string;
  readonly rules: readonly TriedRule[];
  readonly decision: Decision['kind'];
  readonly rule: string | null;
  readonly certificate: CertificateAccount;
  /** What the outer Subject will be; null where nothing is sent, or where it stays the original. */
  readonly subject: { readonly kind: 'keep' } | { readonly kind: 'replace'; readonly text: string } | null;
  /** What else the rule changes; null where nothing is sent. */
  readonly changes: Changes | null;
  readonly reply: string;
}

/** Null where it stays as the script wrote it. */
interface Changes {
  readonly from: { readonly replace: string; readonly original: FromPolicy['original'] } | null;
  readonly envelope_from: string | null;
  readonly message_id: 'per_recipient' | null;
}

/** Nothing is known of the message yet. */
const EMPTY = { fields: [], lookAhead: Buffer.alloc(0), whole: true, body: Readable.from([]) };

/** Stands where the queue id will. */
const SOME_ID = 'QUEUE-ID';

export async function explain(
  rules: readonly Rule[],
  addressBook: AddressBook,
  parties: { readonly sender: Mailbox | null; readonly recipient: Mailbox },
): Promise<Account> {
  const question = { ...parties, client: { address: '127.0.0.1', user: null }, size: null, content: contentFacts(EMPTY) };
  const tried = tryRules(rules, { ...question, client: question.client.address, user: null, lookedUp: {} });
  const { decision, resolution } = await decideRecipient({ rules: makeRuleSet(rules), addressBook }, question, { thorough: true });
  return {
    recipient: parties.recipient.address,
    rules: tried,
    decision: decision.kind,
    rule: decision.rule,
    certificate: accountOf(resolution),
    subject: subjectOf(decision, parties),
    changes: decision.kind === 'seal' ? changesOf(decision, parties.sender) : null,
    reply: replyOf(decision),
  };
}

function changesOf({ from, envelopeFrom, messageId }: Dress, sender: Mailbox | null): Changes {
  return {
    from: from === undefined ? null : { replace: writeMailbox(from.replace), original: from.original },
    envelope_from: sender === null || envelopeFrom === undefined ? null : envelopeFrom.address,
    message_id: messageId ?? null,
  };
}

/** The rules up to the one that decides. */
function tryRules(rules: readonly Rule[], facts: Facts): TriedRule[] {
  const tried: TriedRule[] = [];
  for (const rule of rules) {
    const match = matchRule(rule, facts);
    tried.push({ rule: rule.name, match, because: sayMatch(rule.when, match) });
    if (match === 'yes') break;
  }
  return tried;
}

function sayMatch(when: Condition, match: Truth): string {
  const sides = when.kind === 'all' ? when.of : [when];
  const said = sides.flatMap((one) => ('pattern' in one ? [`${one.kind} ${one.pattern.source}`] : []));
  return said.length === 0 ? 'it matches all mail' : `${match === 'yes' ? '' : 'not '}${said.join(', ')}`;
}

function subjectOf(decision: Decision, parties: { readonly sender: Mailbox | null; readonly recipient: Mailbox }): Account['subject'] {
  if (decision.kind !== 'seal') return null;
  if (decision.subject.kind === 'keep') return { kind: 'keep' };
  return { kind: 'replace', text: renderSubject(decision.subject.template, { queueId: SOME_ID, ...parties }) };
}

function replyOf(decision: Decision): string {
  if (decision.kind === 'seal') return '250 to RCPT TO, and 250 after DATA once the sealed message is durable';
  if (decision.kind !== 'refuse' && decision.kind !== 'retry') return decision.kind;
  const { code, status, text } = refusal(decision).reply;
  return `${code} ${status} ${text}`;
}

/** An account as people read it. File names and certificate texts may hold anything: controls never reach the terminal. */
export function showAccount(account: Account): string {
  const lines = [account.recipient];
  const say = (title: string, texts: readonly string[]): void => {
    for (const [index, text] of texts.entries()) lines.push(`  ${(index === 0 ? title : '').padEnd(13)}${text}`);
  };
  say(
    'rules',
    account.rules.map(({ rule, match, because }) => `${rule}: ${match === 'yes' ? 'yes' : 'no'}, ${because}`),
  );
  if (account.rule === null) say('', ['no rule matches']);
  say('decision', [account.rule === null ? account.decision : `${account.decision}, by the rule ${account.rule}`]);
  say('certificate', certificateLines(account.certificate));
  if (account.subject !== null)
    say('subject', [account.subject.kind === 'keep' ? 'the original, for everybody to read' : account.subject.text]);
  if (account.changes !== null) sayChanges(account.changes, say);
  say('reply', [account.reply]);
  return printable(`${lines.join('\n')}\n`);
}

function sayChanges(
  { from, envelope_from: sender, message_id: id }: Changes,
  say: (title: string, texts: readonly string[]) => void,
): void {
  if (from !== null) {
    const original = from.original === 'reply_to' ? ', and in Reply-To where the message has none' : '';
    say('from', [`${from.replace.replaceAll('\r\n', '')}; the original stands inside the seal${original}`]);
  }
  if (sender !== null) say('envelope', [`MAIL FROM:<${sender}> towards the upstream`]);
  if (id !== null) say('message-id', ['one of this recipient alone; the original stands inside the seal, and last in References']);
}

/** A mailbox of the command line, with or without angle brackets. */
function readMailbox(option: string, written: string): Mailbox {
  const bare = written.startsWith('<') && written.endsWith('>') ? written.slice(1, -1) : written;
  const verdict = parseMailbox(bare);
  if (verdict.kind === 'mailbox') return verdict.mailbox;
  const hint = `write it as ${option} anna@clinic.example${option === '--from' ? ", or --from '<>' for the null sender" : ''}`;
  throw new SealpostError('usage', { detail: `${option} ${JSON.stringify(written)}: ${verdict.fault}`, hint });
}

interface Options {
  readonly from: string;
  readonly to: readonly string[];
  readonly json?: true;
}

export const build: BuildCommand = (terminal) =>
  new Command()
    .description('shows what would happen to a message, without sending one')
    .requiredOption('--from <address>', "the envelope sender; '<>' for the null sender")
    .requiredOption('--to <address...>', 'the envelope recipients')
    .option('--json', 'for programs')
    .action(async (options: Options, command: Command) => {
      const sender = options.from === '<>' ? null : readMailbox('--from', options.from);
      const recipients = options.to.map((written) => readMailbox('--to', written));
      const { config: file } = command.optsWithGlobals<{ config?: string }>();
      const config = await loadConfig({ file, env: terminal.env, cwd: terminal.cwd });
      const rules = await loadRules(config.policies);
      const accounts = await withSite(pathsOf(config, terminal.env), terminal, ({ addressBook }) =>
        Promise.all(recipients.map((recipient) => explain(rules, addressBook, { sender, recipient }))),
      );
      if (options.json === true) terminal.stdout.write(printableJson(accounts));
      else terminal.stdout.write(accounts.map(showAccount).join('\n'));
    });
