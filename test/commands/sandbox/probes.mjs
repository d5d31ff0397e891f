// Started by escape.test.ts under the flags of the relay: tries to get out, and prints what became of each try.
import * as sqlite from 'node:sqlite';
import async_hooks from 'node:async_hooks';
import { cpSync, mkdirSync, openSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import vm from 'node:vm';
import v8 from 'node:v8';
import { isMainThread, Worker } from 'node:worker_threads';

const [, , inside, outside] = process.argv;
const { DatabaseSync } = sqlite;
const require = createRequire(import.meta.url);
const open = () => new DatabaseSync(`${inside}/own.sqlite`);
const tries = {
  'a file': () => writeFileSync(outside, 'x'),
  'a folder': () => mkdirSync(outside),
  'a link': () => symlinkSync(outside, `${inside}/link`),
  'a copy': () => cpSync(`${inside}/own.sqlite`, outside),
  'a copy of links': () => {
    const root = openSync('/', 'r');
    cpSync('/proc/self/fd', `${inside}/fds`, { recursive: true });
    writeFileSync(`${inside}/fds/${root}${outside}`, 'x');
  },
  'a hook on what is made': () => async_hooks.createHook({ init() {} }).enable(),
  'the handles of the engine': () => process._getActiveHandles(),
  'memory as a stream': () => v8.getHeapSnapshot(),
  'a report of an end': () => {
    process.report.reportOnUncaughtException = true;
  },
  'a database by dots behind a link': () => new DatabaseSync(`${inside}/folder/../out.sqlite`),
  'a program': () => require('node:child_process').execFileSync('true'),
  'another life': () => process.execve('/bin/true', ['true'], {}),
  'native code': () => process.dlopen({ exports: {} }, '/x.node'),
  'the inspector': () => require('node:inspector').open(0),
  'an inspector session': () => new (require('node:inspector').Session)().connect(),
  'a binding': () => process.binding('fs'),
  'its own memory': () => require('node:fs').openSync('/proc/self/mem', 'r+'),
  'a heap snapshot': () => v8.writeHeapSnapshot(`${inside}/heap`),
  'a report': () => process.report.writeReport(`${inside}/report.json`),
  'flags of V8': () => v8.setFlagsFromString('--prof'),
  'a database': () => new DatabaseSync(outside),
  'a database for reading': () => new DatabaseSync('/etc/passwd', { readOnly: true }),
  'a database by require': () => new (require('node:sqlite').DatabaseSync)(outside),
  'a database by getBuiltinModule': () => new (process.getBuiltinModule('node:sqlite').DatabaseSync)(outside),
  'a database by its constructor': () => new (open().constructor)(outside),
  'a database by its prototype': () => new (Object.getPrototypeOf(open()).constructor)(outside),
  'a database by Reflect': () => Reflect.construct(DatabaseSync, [outside], Object),
  'a database by a subclass': () => new (class extends DatabaseSync {})(outside),
  'a database in a context': () => vm.runInNewContext('new DatabaseSync(outside)', { DatabaseSync, outside }),
  'a database as file:': () => new DatabaseSync(`file:${outside}`),
  'a database as URL': () => new DatabaseSync(new URL(`file://${outside}`)),
  'a database as octets': () => new DatabaseSync(Buffer.from(outside)),
  'a database by dots': () => new DatabaseSync(`${inside}/../outside`),
  'a database behind a link': () => new DatabaseSync(`${inside}/prepared`),
  ATTACH: () => open().exec(`ATTACH '${outside}' AS other`),
  'VACUUM INTO': () => open().exec(`VACUUM INTO '${outside}'`),
  'a backup': () => sqlite.backup(open(), outside),
  'a database without its guard': () => open().setAuthorizer(null),
  'a prototype without its guard': () => DatabaseSync.prototype.setAuthorizer.call(open(), null),
  'a database that is opened again': () => {
    const db = open();
    db.close();
    db.open();
  },
  // Inside, so that nothing but its being opened later refuses it.
  'a database that is opened later': () => new DatabaseSync(`${inside}/own.sqlite`, { open: false }),
  'an extension': () => new DatabaseSync(`${inside}/own.sqlite`, { allowExtension: true }),
  'the old class back': () => void (require('node:sqlite').DatabaseSync = 1),
  'a thread without flags': () => new Worker('1', { eval: true, execArgv: [] }),
  'a thread with an environment': () => new Worker('1', { eval: true, env: {} }),
  'a thread by its constructor': () => new Worker.prototype.constructor('1', { eval: true, execArgv: [] }),
};
const told = {};
for (const [name, attempt] of Object.entries(tries)) {
  try {
    attempt();
    told[name] = 'done';
  } catch (error) {
    told[name] = `${error.code ?? error.name}`;
  }
}
told['own database'] = open().prepare('SELECT 1 AS one').get().one === 1 ? 'works' : 'broken';
console.log(JSON.stringify(told));
if (isMainThread) {
  // What all objects inherit must not become the flags of a thread.
  Reflect.set(Object.prototype, 'execArgv', []);
  new Worker(new URL(import.meta.url), { argv: [inside, outside] }).once('exit', () => {
    Reflect.deleteProperty(Object.prototype, 'execArgv');
    const text = `try { new (require('node:sqlite').DatabaseSync)(${JSON.stringify(outside)}); console.log('{"text":"done"}') } catch (error) { console.log(JSON.stringify({ text: error.code })) }`;
    new Worker(text, { eval: true }).once('exit', () => {});
  });
}
