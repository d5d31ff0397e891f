/** `sealpost policies …`: a table of expected decisions held to the rules, and the rules themselves in their order. */
import path from 'node:path';
import { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { showFaults } from '../document/fault.ts';
import { SealpostError } from '../errors.ts';
import { makeRuleSet, type Rule } from '../policy/decide.ts';
import { loadPolicy, loadRules } from '../policy/rules.ts';
import { printable, printableJson } from './certificates/account.ts';
import { pathsOf } from './certificates/paths.ts';
import { withSite } from './certificates/site.ts';
import { ruleLines } from './explain/show.ts';
import { sayNotTaken, signingFaults, siteForms } from './explain/site.ts';
import { type Case, readCases } from './policies/cases.ts';
import { type CaseResult, runCase } from './policies/run.ts';
import type { BuildCommand, Terminal } from './terminal.ts';

export const build: BuildCommand = (terminal) => {
  const policies = new Command().description('the rules: tested against a table, or listed');
  policies
    .command('test')
    .description('hold tables of expected decisions to the rules; exits 1 where one is otherwise')
    .argument('<file...>', 'tables of cases, YAML')
    .option('--json', 'for programs')
    .action(async (files: string[], options: { json?: true }, command: Command) => testCases(files, options, command, terminal));
  policies
    .command('list')
    .description('the rules in the order in which they are tried, each with its place')
    .option('--json', 'for programs')
    .action(async (options: { json?: true }, command: Command) => list(options, command, terminal));
  return policies;
};

async function testCases(files: readonly string[], { json }: { json?: true }, command: Command, terminal: Terminal): Promise<void> {
  const { config: named } = command.optsWithGlobals<{ config?: string }>();
  const cases: Case[] = [];
  for (const file of files) {
    const read = await readCases(path.resolve(terminal.cwd, file));
    if (read.kind === 'invalid') throw new SealpostError('policy-invalid', { detail: `${file}\n${showFaults(read.faults)}` });
    cases.push(...read.value);
  }
  const config = await loadConfig({ file: named, env: terminal.env, cwd: terminal.cwd });
  const parts = { rules: makeRuleSet(await loadRules(config.policies)), formFor: siteForms(config) };
  terminal.stderr.write(sayNotTaken(await signingFaults(config, parts.rules.rules, terminal.env)));
  const results = await withSite(pathsOf(config, terminal.env), terminal, async ({ addressBook }) => {
    const results: CaseResult[] = [];
    for (const one of cases) results.push(await runCase({ ...parts, addressBook }, one));
    return results;
  });
  const failed = results.filter(({ passed }) => !passed);
  if (json === true) terminal.stdout.write(printableJson(results));
  else {
    for (const one of failed) terminal.stdout.write(showFailure(one));
    terminal.stdout.write(`${count(results.length, 'case')}, ${failed.length === 0 ? 'all as expected' : `${failed.length} otherwise`}\n`);
  }
  if (failed.length > 0)
    throw new SealpostError('check-failed', {
      detail: `${count(failed.length, 'case')} not as expected`,
      hint: 'mend the rules or the table, then sealpost policies test again',
    });
}

export function showFailure({ name, place, differences, account }: CaseResult): string {
  const lines = [
    `${place}: ${name}`,
    ...differences.map(({ key, expected, found }) => `  ${key}: wanted ${expected}, found ${found}`),
    ...ruleLines(account).map((line, index) => `  ${(index === 0 ? 'rules' : '').padEnd(7)}${line}`),
    ...(account.certificate.state === 'not asked' ? [] : [`  certificate: ${account.certificate.state}`]),
  ];
  return printable(`${lines.join('\n')}\n`);
}

async function list({ json }: { json?: true }, command: Command, terminal: Terminal): Promise<void> {
  const { config: named } = command.optsWithGlobals<{ config?: string }>();
  const config = await loadConfig({ file: named, env: terminal.env, cwd: terminal.cwd });
  const { rules, sha256 } = await loadPolicy(config.policies);
  if (json === true)
    terminal.stdout.write(printableJson(rules.map(({ name, place, then }) => ({ rule: name, place: place ?? null, then }))));
  else terminal.stdout.write(printable(`${rules.map((rule) => `${showRule(rule)}\n`).join('')}sha256 ${sha256}\n`));
}

function showRule({ name, place, then, missing, unavailable, sign, archive }: Rule): string {
  const also = [
    ...(then === 'seal' && missing === 'hold' ? ['missing: hold'] : []),
    ...(then === 'seal' && unavailable === 'hold' ? ['unavailable: hold'] : []),
    ...(sign === undefined ? [] : [`signed by ${sign.identity}`]),
    ...(archive === undefined ? [] : [`archived to ${archive.address}`]),
  ];
  return `${then.padEnd(7)}${name}${also.length === 0 ? '' : ` (${also.join(', ')})`}${place === undefined ? '' : `  ${place}`}`;
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`;
