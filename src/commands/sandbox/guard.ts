/**
 * Loaded before everything else in the relay and in each of its threads (--require). Node's permission model holds the calls of node:fs;
 * it does not hold SQLite, which opens its files itself, and it holds no thread that is started with flags of its own. Both are held here:
 * the classes that programs reach are guarded ones, and nothing leads back to those behind them.
 *
 * A seat belt: code that got in by a fault in a library meets it; what exploits the engine itself does not. That is for the kernel.
 */
import asyncHooks from 'node:async_hooks';
import fs, { lstatSync, realpathSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import process from 'node:process';
import v8 from 'node:v8';
import workers from 'node:worker_threads';

type Construct = (...args: unknown[]) => object;

// Not by import: what an import of node:sqlite has once given out is out of reach of syncBuiltinESMExports.
const sqlite = process.getBuiltinModule('node:sqlite');

const { apply, construct, defineProperty } = Reflect;
const { assign, create } = Object;
/** Taken now: what runs later may put something else in their place. */
const mayWrite: ((scope: string, path: string) => boolean) | undefined = process.permission?.has.bind(process.permission);
const { value: setAuthorizer } = Object.getOwnPropertyDescriptor(sqlite.DatabaseSync.prototype, 'setAuthorizer') ?? {};
const { value: close } = Object.getOwnPropertyDescriptor(sqlite.DatabaseSync.prototype, 'close') ?? {};
const { SQLITE_OK, SQLITE_DENY, SQLITE_ATTACH, SQLITE_DETACH, SQLITE_FUNCTION, SQLITE_PRAGMA } = sqlite.constants;

const refused = (what: string): Error => Object.assign(new Error(`the sandbox allows no ${what}`), { code: 'ERR_ACCESS_DENIED' });

/** In the place of a name for good. */
const fix = (target: object, name: string, value: unknown): void =>
  void defineProperty(target, name, { value, writable: false, configurable: false, enumerable: true });

const refuse = (target: object, names: readonly string[], what: string): void => {
  for (const name of names)
    fix(target, name, () => {
      throw refused(what);
    });
};

/** Its real place, all links on the way followed; that is what is to be opened. A name that is itself a link is refused, as all but plain paths are. */
function placeInside(path: unknown): string {
  // Dots are refused, since SQLite follows a link in front of them and a path that is put in order does not.
  if (typeof path !== 'string' || path === '' || /^file:|\0|(?:^|\/)\.\.(?:\/|$)/i.test(path))
    throw refused('database that is not a plain path');
  const real = join(realpathSync(dirname(path)), basename(path));
  if (lstatSync(real, { throwIfNoEntry: false })?.isSymbolicLink() === true) throw refused('database behind a link');
  if (mayWrite?.('fs.write', real) !== true) throw refused('database outside the data folder');
  return real;
}

/** ATTACH is VACUUM INTO too. Asked when a statement is prepared. */
function authorize(action: number, first: string | null, second: string | null): number {
  if (action === SQLITE_ATTACH || action === SQLITE_DETACH) return SQLITE_DENY;
  if (action === SQLITE_FUNCTION && second === 'load_extension') return SQLITE_DENY;
  if (action === SQLITE_PRAGMA && (first === 'temp_store_directory' || first === 'data_store_directory')) return SQLITE_DENY;
  return SQLITE_OK;
}

function guardDatabases(): void {
  const { DatabaseSync } = sqlite;
  const guarded = new Proxy(DatabaseSync, {
    construct(target, [path, options]: unknown[], newTarget: Construct) {
      const place = path === ':memory:' ? path : placeInside(path);
      // What the prototype of all objects says is not read, nor is a getter asked twice.
      const given: Record<string, unknown> = assign(create(null), options);
      if (given['open'] === false) throw refused('database that is opened later');
      if (given['allowExtension'] === true) throw refused('extension');
      const db: object = construct(target, [place, given], newTarget);
      try {
        apply(setAuthorizer, db, [authorize]);
      } catch (error) {
        apply(close, db, []);
        throw error;
      }
      return db;
    },
  });
  const { prototype } = DatabaseSync;
  fix(prototype, 'constructor', guarded);
  refuse(prototype, ['setAuthorizer', 'open', 'enableLoadExtension', 'loadExtension'], 'change of the guard of a database');
  fix(sqlite, 'DatabaseSync', guarded);
  refuse(sqlite, ['backup'], 'copy of a database');
}

function guardThreads(): void {
  const { Worker } = workers;
  const guarded = new Proxy(Worker, {
    construct(target, [file, options]: unknown[], newTarget: Construct) {
      const given: Record<string, unknown> = assign(create(null), options);
      // Either makes Node read flags anew, and a thread has a sandbox by its flags alone.
      if (given['execArgv'] !== undefined || given['env'] !== undefined) throw refused('thread with flags or an environment of its own');
      return construct(target, [file, given], newTarget);
    },
  });
  fix(Worker.prototype, 'constructor', guarded);
  fix(workers, 'Worker', guarded);
  refuse(Worker.prototype, ['getHeapSnapshot'], 'heap snapshot');
  // A hook is handed the engine's own thread, whose constructor takes any flags.
  refuse(asyncHooks, ['createHook', 'executionAsyncResource'], 'look at what belongs to the engine');
}

guardDatabases();
guardThreads();
// Some flags of V8 write files; snapshots and reports hold memory, and the data folder is writable.
refuse(
  v8,
  ['setFlagsFromString', 'setHeapSnapshotNearHeapLimit', 'writeHeapSnapshot', 'getHeapSnapshot', 'takeCoverage'],
  'change of the engine',
);
if (process.report !== undefined) {
  refuse(process.report, ['writeReport', 'getReport'], 'report');
  for (const when of ['reportOnFatalError', 'reportOnSignal', 'reportOnUncaughtException']) fix(process.report, when, false);
}
// It copies links without asking whether links may be made, and a link leads out.
refuse(fs, ['cpSync'], 'copy of a folder');
for (const name of ['_getActiveHandles', '_getActiveRequests'])
  if (name in process) refuse(process, [name], 'look at what belongs to the engine');
syncBuiltinESMExports();
