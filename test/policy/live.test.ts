/** Rules that change while the relay runs. */
import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import type { Fault } from '../../src/document/fault.ts';
import { readText } from '../../src/document/yaml.ts';
import { SealpostError } from '../../src/errors.ts';
import type { Rule } from '../../src/policy/decide.ts';
import { LiveFolder, openRules, type RulesNews } from '../../src/policy/live.ts';
import { folderWith } from './folder.ts';

const rule = (name: string, when = '"<>"'): string => `rules:\n  - { name: ${name}, then: refuse, when: { sender: ${when} } }\n`;

interface Parts {
  readonly verify?: (rules: readonly Rule[]) => Promise<readonly Fault[]>;
  readonly prepare?: (rules: readonly Rule[]) => Promise<void>;
  readonly read?: typeof readText;
}

async function liveOver(folder: string, { verify, prepare, read }: Parts = {}) {
  const lines: string[] = [];
  const log = pino({ base: null, timestamp: false }, { write: (line: string) => void lines.push(line) });
  const live = new LiveFolder(folder, { log, verify, read });
  const news: RulesNews[] = [];
  await live.start();
  await live.watch({ onNews: (one) => void news.push(one), ...(prepare === undefined ? {} : { prepare }) });
  return {
    names: () => live.current.rules.map(({ name }) => name),
    live,
    lines,
    news,
    /** Two looks: one sees the change, the next that it rests. */
    look: async () => {
      await live.look();
      await live.look();
    },
  };
}

test('a change counts once it rested, and the audit log hears of it', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  const { names, live, news } = await liveOver(folder);
  assert.deepEqual(names(), ['one']);
  await writeFile(path.join(folder, 'a.yaml'), rule('two-and-more'));
  await live.look();
  assert.deepEqual(names(), ['one'], 'it may be half-written');
  await live.look();
  assert.deepEqual(names(), ['two-and-more']);
  await live.look();
  assert.deepEqual(
    news.map(({ kind }) => kind),
    ['loaded', 'loaded'],
  );
  const [first, second] = news;
  assert.ok(first?.kind === 'loaded' && second?.kind === 'loaded' && first.sha256 !== second.sha256);
  assert.match(second.sha256, /^[0-9a-f]{64}$/);
});

test('rules that are never reached are warned of when they begin to count, as check does', async (t) => {
  const folder = await folderWith(t, { 'b.yaml': rule('one') });
  const { look, lines } = await liveOver(folder);
  await writeFile(path.join(folder, 'a.yaml'), 'rules:\n  - { name: all, then: refuse }\n');
  await look();
  const warned = lines.map((line): Record<string, unknown> => JSON.parse(line)).filter(({ level }) => level === 40);
  assert.deepEqual(
    warned.map(({ remarks, first, msg }) => [remarks, first, msg]),
    [
      [
        1,
        [`${folder}/b.yaml:2:13: the rule one is never reached: all before it matches all mail`],
        'rules that are never reached or never match',
      ],
    ],
  );
});

test('a file that comes and one that goes count', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  const { names, look } = await liveOver(folder);
  await writeFile(path.join(folder, 'b.yaml'), rule('two'));
  await look();
  assert.deepEqual(names(), ['one', 'two']);
  await rm(path.join(folder, 'a.yaml'));
  await look();
  assert.deepEqual(names(), ['two']);
});

test('wrong rules leave those from before in place; log and audit log say so, and the mended ones count', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  const { names, look, lines, news } = await liveOver(folder);
  await writeFile(path.join(folder, 'a.yaml'), 'rules:\n  - { name: two, then: discard }\n  - { name: two, tehn: refuse }\n');
  await look();
  assert.deepEqual(names(), ['one']);
  const said = lines.join('');
  assert.match(said, /the rules are faulty, those from before stay/);
  for (const place of ['a.yaml:2:24', 'a.yaml:3:18']) assert.ok(said.includes(`${folder}/${place}`), `${place} in ${said}`);
  assert.deepEqual(news.at(-1), { kind: 'kept', faults: 3 });
  const { faults }: { faults: string[] } = JSON.parse(lines.at(-1) ?? '');
  assert.equal(faults.length, 3, 'one by one');
  assert.ok(
    faults.every((one) => !one.includes('\n')),
    said,
  );
  const before = lines.length;
  await look();
  assert.equal(lines.length, before, 'told once');
  await writeFile(path.join(folder, 'a.yaml'), rule('mended'));
  await look();
  assert.deepEqual(names(), ['mended']);
});

test('a folder that is gone leaves the rules in place', async (t) => {
  const folder = await folderWith(t, { 'policies/a.yaml': rule('one') });
  const { names, look, news } = await liveOver(path.join(folder, 'policies'));
  await rm(path.join(folder, 'policies'), { recursive: true });
  await look();
  assert.deepEqual(names(), ['one']);
  assert.equal(news.at(-1)?.kind, 'kept');
});

test('a list in a file is a part of the rules: it is reloaded, and a fault in it keeps the old one', async (t) => {
  const folder = await folderWith(t, { 'lists/x.txt': 'a@x.example\n', 'a.yaml': rule('one', '{ file: lists/x.txt }') });
  const { live, look, lines, news } = await liveOver(folder);
  const matches = (address: string): boolean => {
    const [first] = live.current.rules;
    assert.ok(first?.when.kind === 'sender');
    const [localPart = '', domain = ''] = address.split('@');
    return first.when.pattern.matches({ localPart, domain, address, needsSmtputf8: false });
  };
  assert.deepEqual([matches('a@x.example'), matches('b@x.example')], [true, false]);
  await writeFile(path.join(folder, 'lists/x.txt'), 'a@x.example\nb@x.example\n');
  await look();
  assert.deepEqual([matches('a@x.example'), matches('b@x.example')], [true, true]);
  await writeFile(path.join(folder, 'lists/x.txt'), 'a@x.example\nnobody\n');
  await look();
  assert.deepEqual([matches('b@x.example'), news.at(-1)?.kind], [true, 'kept']);
  assert.ok(lines.join('').includes(`${folder}/lists/x.txt:2: `));
  await writeFile(path.join(folder, 'lists/x.txt'), 'c@x.example\n');
  await look();
  assert.deepEqual([matches('b@x.example'), matches('c@x.example')], [false, true]);
});

test('rules that want what the site has not are not taken, at the start nor later', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  const place = path.join(folder, 'a.yaml:2:5');
  const verify = (rules: readonly Rule[]): Promise<readonly Fault[]> =>
    Promise.resolve(rules.some(({ name }) => name === 'bad') ? [{ place, key: 'sign', wrong: 'no such identity', mend: 'make it' }] : []);
  const { names, look, lines } = await liveOver(folder, { verify });
  await writeFile(path.join(folder, 'a.yaml'), rule('bad'));
  await look();
  assert.deepEqual(names(), ['one']);
  assert.match(lines.join(''), /no such identity/);
  await assert.rejects(openRules(folder, { log: pino({ level: 'silent' }), verify }), { code: 'policy-invalid' });
});

test('what new rules want is made before they count, and where it cannot be they do not', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  const prepared: string[] = [];
  const prepare = (rules: readonly Rule[]): Promise<void> => {
    const [first] = rules;
    prepared.push(first?.name ?? '');
    return first?.name === 'bad' ? Promise.reject(new Error('no key')) : Promise.resolve();
  };
  const { names, look, news } = await liveOver(folder, { prepare });
  await writeFile(path.join(folder, 'a.yaml'), rule('bad'));
  await look();
  assert.deepEqual([names(), prepared, news.at(-1)?.kind], [['one'], ['one', 'bad'], 'kept']);
});

const looks = async ({ look }: { readonly look: () => Promise<void> }, count: number): Promise<void> => {
  for (let at = 0; at < count; at++) await look();
};

const faulty: Fault = { place: 'x', key: 'sign', wrong: 'no such identity', mend: 'make it' };

for (const [what, failing] of Object.entries({
  'what they want cannot be made': (fails) => ({ prepare: async () => fails(() => new Error('no key')) }),
  'the site cannot be asked': (fails) => ({
    verify: async () => {
      fails(() => new Error('EIO'));
      return [];
    },
  }),
  'the site has not yet what they want': (fails) => ({
    verify: async () => {
      try {
        fails(() => new Error('not yet'));
        return [];
      } catch {
        return [faulty];
      }
    },
  }),
  'a file cannot be read': (fails) => ({
    read: async (...asked) => {
      fails(() => new SealpostError('file-unreadable', { detail: 'a.yaml (EMFILE)' }));
      return readText(...asked);
    },
  }),
  'a list cannot be read': (fails) => ({
    read: async (file, ...others) => {
      if (file.endsWith('.txt')) fails(() => new SealpostError('file-unreadable', { detail: 'x.txt (EIO)' }));
      return readText(file, ...others);
    },
  }),
} satisfies Record<string, (fails: (error: () => Error) => void) => Parts>)) {
  test(`new rules are taken though no file changes any more, where once ${what}; it is told once`, async (t) => {
    const folder = await folderWith(t, { 'lists/x.txt': 'a@x.example\n', 'a.yaml': rule('one', '{ file: lists/x.txt }') });
    let broken = false;
    let tries = 0;
    const live = await liveOver(
      folder,
      failing((error) => {
        tries++;
        if (broken) throw error();
      }),
    );
    broken = true;
    tries = 0;
    await writeFile(path.join(folder, 'a.yaml'), rule('two', '{ file: lists/x.txt }'));
    await looks(live, 20);
    assert.deepEqual(live.names(), ['one']);
    assert.ok(tries > 3 && tries < 20, `${tries} tries`);
    assert.deepEqual([live.lines.length, live.news.map(({ kind }) => kind)], [1, ['loaded', 'kept']]);
    broken = false;
    await looks(live, 6);
    assert.deepEqual([live.names(), live.news.at(-1)?.kind], [['two'], 'loaded']);
    const before = tries;
    await looks(live, 6);
    assert.equal(tries, before, 'it rests');
  });
}

test('what failed once is tried again at the very next look', async (t) => {
  const folder = await folderWith(t, { 'a.yaml': rule('one') });
  let left = 0;
  const prepare = async (): Promise<void> => {
    if (left-- > 0) throw new Error('no key');
  };
  const { names, live, look } = await liveOver(folder, { prepare });
  left = 1;
  await writeFile(path.join(folder, 'a.yaml'), rule('two'));
  await look();
  assert.deepEqual(names(), ['one']);
  await live.look();
  assert.deepEqual(names(), ['two']);
});
