/** An account as people read it. */
import type { Truth } from '../../policy/condition.ts';
import { certificateLines, printable } from '../certificates/account.ts';
import type { Account, ArchiveCopy, Changes } from './account.ts';

/** What the site does with mail that is held or passed, in its words. */
export interface SiteWords {
  readonly held: readonly string[];
  readonly passed: readonly string[];
}

type Say = (title: string, texts: readonly string[]) => void;

const truths: Readonly<Record<Truth, string>> = {
  yes: 'yes',
  no: 'no',
  later: 'not known yet',
  ask: 'not looked up',
  unavailable: 'unavailable',
  unclear: 'unclear',
};

/** File names and certificate texts may hold anything: controls never reach the terminal. */
export function showAccount(account: Account, words: SiteWords): string {
  const lines = [account.recipient];
  const say: Say = (title, texts) => {
    for (const [index, text] of texts.entries()) lines.push(`  ${(index === 0 ? title : '').padEnd(13)}${text}`);
  };
  say('rules', ruleLines(account));
  say('decision', decisionLines(account, words));
  say('certificate', certificateLines(account.certificate));
  sayLook(account, say);
  say('at RCPT', [account.replies.rcpt]);
  if (account.replies.data !== null) say('after DATA', [account.replies.data]);
  return printable(`${lines.join('\n')}\n`);
}

export function ruleLines({ rules, rule, decision }: Account): string[] {
  const told = rules.map((one) => {
    // A doubt keeps rules that match from refusing or passing what an earlier one might have sealed.
    const over = one.rule !== rule && decision !== 'open' && one.match !== 'no' ? ' (in doubt: it decides nothing)' : '';
    return `${one.rule}: ${truths[one.match]}, ${one.because}${over}`;
  });
  return rule === null && decision !== 'open' ? [...told, 'no rule matches'] : told;
}

const reasons: Readonly<Record<string, string>> = {
  missing: 'no usable certificate',
  unavailable: 'nobody knows whether there is a certificate',
  archive: 'the copy for the archive cannot be made',
};

function decisionLines({ decision, rule, because, open, rules }: Account, words: SiteWords): string[] {
  if (decision === 'open') {
    const may = open.map(
      (one) => `  ${one.decision}, by the rule ${one.rule}${one.match === 'yes' ? ' if no rule before it matches' : ''}`,
    );
    const end = open.at(-1)?.match === 'yes' ? [] : ['  refuse, if no rule matches'];
    return ['open until the header is known: give --subject, --header-from, --header or --message', ...may, ...end];
  }
  const why = because === null ? undefined : reasons[because];
  const by = rule === null ? decision : `${decision}, by the rule ${rule}${why === undefined ? '' : `: ${why}`}`;
  const doubt = rules.find((one) => one.rule === rule && one.match !== 'yes');
  const lines = doubt === undefined ? [by] : [by, 'whether it matches is in doubt, and what is in doubt is sealed'];
  if (decision === 'hold') return [...lines, ...words.held];
  return decision === 'pass' ? [...lines, ...words.passed] : lines;
}

function sayLook({ subject, changes, algorithms, signed, archive, archive_copy: copy, decision }: Account, say: Say): void {
  if (decision === 'pass') say('message', ['in clear, as it came']);
  else if (subject !== null) {
    if (subject.kind === 'keep') say('subject', ['the original, for everybody to read']);
    else
      say('subject', [
        subject.text,
        ...(subject.shown ? ['the original stands in the first line of the text too, where that can be done'] : []),
      ]);
  }
  if (changes !== null) sayChanges(changes, say);
  if (signed !== null)
    say('signed', [`by the identity ${signed.identity}, ${signed.form}${signed.recode === '7bit' ? ', as 7bit' : ''}, then sealed`]);
  if (algorithms !== null) say('sealed with', [`${algorithms.cipher}, its key by ${algorithms.key}`]);
  if (archive !== null && copy !== null) say('archive', archiveLines(archive, copy));
}

function archiveLines(archive: string, { becomes, because, certificate }: ArchiveCopy): string[] {
  if (becomes === 'seal') return [`a message of its own to ${archive}, sealed to the certificate of that address`];
  const why = because === 'missing' ? 'has no usable certificate' : 'cannot be looked up';
  const then = becomes === 'hold' ? 'its copy is held' : 'the whole message is refused for the time being';
  return [`${archive} ${why}: ${then}`, ...certificateLines(certificate).map((line) => `  ${line}`)];
}

function sayChanges({ from, envelope_from: sender, message_id: id }: Changes, say: Say): void {
  if (from !== null) {
    const original = from.original === 'reply_to' ? ', and in Reply-To where the message has none' : '';
    say('from', [`${from.replace.replaceAll('\r\n', '')}; the original stands inside the seal${original}`]);
  }
  if (sender !== null) say('envelope', [`MAIL FROM:<${sender}> towards the upstream`]);
  if (id !== null) say('message-id', ['one of this recipient alone; the original stands inside the seal, and last in References']);
}
