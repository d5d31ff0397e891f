/** Decisions over ten thousand rules in ten files, and texts of a megabyte against hostile patterns. In process. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contentFacts } from '../../src/message/facts.ts';
import { type Mailbox, parseMailbox } from '../../src/message/envelope.ts';
import type { Facts } from '../../src/policy/condition.ts';
import { decide, makeRuleSet, type RuleSet } from '../../src/policy/decide.ts';
import { policyRemarks } from '../../src/policy/remarks.ts';
import { loadRules } from '../../src/policy/rules.ts';
import { anyText } from '../../src/policy/text-pattern.ts';
import type { Owner } from './owner.ts';

type Print = (line: string) => void;

const FILES = 10;
const RULES_PER_FILE = 1000;
/** Of each decision, of which the fastest counts: what else the machine does is not the rules' cost. */
const ROUNDS = 10;

export async function benchPolicies(print: Print, owner: Owner): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-policies-'));
  owner.after(() => rm(folder, { recursive: true, force: true }));
  for (let file = 0; file < FILES; file++) await writeFile(join(folder, `${10 + file}.yaml`), fileOf(file));
  const started = performance.now();
  const rules = await loadRules(folder);
  const read = performance.now();
  const set = makeRuleSet(rules);
  const made = performance.now();
  print(
    `policies: ${rules.length} rules in ${FILES} files: read in ${Math.round(read - started)} ms, arranged in ${Math.round(made - read)} ms`,
  );
  const remarks = policyRemarks(rules);
  print(`policies: what can never match, or is hidden: ${remarks.length} found in ${Math.round(performance.now() - made)} ms`);
  benchDecisions(set, print);
  benchTexts(print);
}

/** A site that grew: most rules of one recipient, domain or sender each, some of texts, networks and sizes on top. */
function fileOf(file: number): string {
  const rules = Array.from({ length: RULES_PER_FILE }, (_, at) => {
    const id = file * RULES_PER_FILE + at;
    return `  - { name: r${id}, when: ${conditionOf(id)}, then: ${id % 3 === 0 ? 'refuse' : 'seal, subject: keep, missing: hold'} }`;
  });
  if (file === FILES - 1) rules[RULES_PER_FILE - 1] = '  - { name: everything-else, then: seal, subject: keep }';
  return `rules:\n${rules.join('\n')}\n`;
}

function conditionOf(id: number): string {
  if (id % 100 === 0) return `{ client: 10.${(id / 100) % 250}.0.0/16, subject: "*form ${id}*" }`;
  if (id % 10 === 0) return `{ sender: "*@partner${id}.example", subject: "/order ${id}/i" }`;
  if (id % 10 === 1) return `{ recipient: "*@*.practice${id}.example", size: { over: 1MiB } }`;
  if (id % 10 === 2) return `{ sender: forms@clinic.example, recipient: ["a${id}@clinic.example", "b${id}@clinic.example"] }`;
  if (id % 10 === 3) return `{ recipient: "team${id}-*@clinic${id % 50}.example" }`;
  return `{ recipient: person${id}@clinic.example, header_from: "*@clinic.example" }`;
}

function mailboxOf(address: string): Mailbox {
  const verdict = parseMailbox(address);
  if (verdict.kind === 'fault') throw new Error(verdict.fault);
  return verdict.mailbox;
}

function benchDecisions(set: RuleSet, print: Print): void {
  const fields = ['From: forms@clinic.example', 'Subject: order 4710 of the clinic'].map((line) => {
    const name = line.slice(0, line.indexOf(':'));
    return { name, key: name.toLowerCase(), octets: Buffer.from(`${line}\r\n`) };
  });
  const lookedUp = { never: { state: 'found', sealedFor: false } } as const;
  const sender = mailboxOf('forms@clinic.example');
  const recipients = Array.from({ length: 1000 }, (_, at) => [
    mailboxOf(`person${at * 10 + 4}@clinic.example`),
    mailboxOf(`someone@x.practice${at * 10 + 1}.example`),
    mailboxOf(`stranger${at}@elsewhere.example`),
    mailboxOf(`team${at * 10 + 3}-a@clinic${(at * 10 + 3) % 50}.example`),
  ]).flat();
  const times = recipients.map((recipient) => {
    const rounds = Array.from({ length: ROUNDS }, () => {
      const content = contentFacts({ fields, lookAhead: Buffer.alloc(0) });
      const facts: Facts = { sender, recipient, client: '192.0.2.7', user: 'forms', size: 4000, content, lookedUp };
      const started = performance.now();
      decide(set, facts);
      return performance.now() - started;
    });
    return Math.min(...rounds);
  });
  times.sort((a, b) => a - b);
  const at = (share: number): string => ((times[Math.floor(times.length * share)] ?? 0) * 1000).toFixed(0);
  print(
    `policies: a decision, of ${times.length} recipients, the fastest of ${ROUNDS} each: p50 ${at(0.5)} µs, p99 ${at(0.99)} µs, p99.9 ${at(0.999)} µs`,
  );
}

const HOSTILE = ['/(a+)+$/', '/(a|a)*b/', '/(?:a?){200}b/', '/.*.*.*=/', '/(a|b)*a(a|b){14}c/', '*a*a*a*b*'] as const;
const SIZE = 1_000_000;

/** Linear: twice the text takes twice the time. */
function benchTexts(print: Print): void {
  for (const source of HOSTILE) {
    const verdict = anyText([source]);
    if (verdict.kind === 'fault') throw new Error(verdict.fault);
    const { pattern } = verdict;
    const time = (text: string): number => {
      const rounds = Array.from({ length: 5 }, () => {
        const started = performance.now();
        pattern.matches(text);
        return performance.now() - started;
      });
      return Math.min(...rounds);
    };
    const [half, whole] = [time('a'.repeat(SIZE / 2)), time('a'.repeat(SIZE))];
    print(`policies: ${source} over a subject of 1 MB: ${whole.toFixed(1)} ms, ${(whole / half).toFixed(1)} × that of half of it`);
  }
  const read = (size: number): number => {
    const field = { name: 'Subject', key: 'subject', octets: Buffer.from(`Subject: ${'=?utf-8?q?=C3=BC?= '.repeat(size / 19)}\r\n`) };
    const rounds = Array.from({ length: 5 }, () => {
      const started = performance.now();
      contentFacts({ fields: [field], lookAhead: Buffer.alloc(0) }).fields('subject');
      return performance.now() - started;
    });
    return Math.min(...rounds);
  };
  const [half, whole] = [read(SIZE / 2), read(SIZE)];
  print(
    `policies: the readings of a subject of 1 MB of encoded words: ${whole.toFixed(0)} ms, ${(whole / half).toFixed(1)} × that of half of it`,
  );
}
