/**
 * The database: its tables, how it is opened and owned. Only the queue's worker opens it for
 * writing; commands read it beside a running relay.
 */
import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SealpostError } from '../errors.ts';
import { asStorageError, resultCode, SQLITE_BUSY } from './failure.ts';

/** In user_version. A release reads every older one and refuses newer ones. */
const SCHEMA_VERSION = 6;
/** In application_id, 'SPQ1': a database of somebody else is not written to. */
const APPLICATION_ID = 0x53505131;

/** For another process that reads; a writer cannot be in the way, it would hold the lock. */
const BUSY_TIMEOUT_MS = 5000;
/** Pages (4 KiB) in the write-ahead log before it is copied back: fewer, larger checkpoints than SQLite's 1000. */
const CHECKPOINT_PAGES = 4000;
const CACHE_KIB = 16_384;
const WAL_KEPT_BYTES = 64 * 1024 * 1024;

const FILE_MODE = 0o600;

const STATES_BEFORE_5 = `'ready', 'leased', 'deferred', 'bounced', 'damaged'`;
const STATES = `${STATES_BEFORE_5}, 'held'`;

// `due_at` is set exactly while a row waits, so the index on it holds what can be claimed and nothing else.
// In `set_aside`: recipients so damaged that their state cannot be written into their own row.
const TABLES = `
  CREATE TABLE messages (
    id TEXT PRIMARY KEY, accepted_at INTEGER NOT NULL, sender TEXT NOT NULL, size INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX messages_accepted ON messages (accepted_at);
  CREATE TABLE bodies (
    id INTEGER PRIMARY KEY, length INTEGER NOT NULL, sha256 BLOB NOT NULL, file TEXT UNIQUE, bytes BLOB,
    CHECK ((file IS NULL) <> (bytes IS NULL))
  ) STRICT;
  CREATE TABLE recipients (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message TEXT NOT NULL REFERENCES messages (id), body INTEGER NOT NULL REFERENCES bodies (id), address TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN (${STATES})),
    due_at INTEGER, changed_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, past_dot INTEGER NOT NULL DEFAULT 0,
    reason TEXT, needs_smtputf8 INTEGER NOT NULL, sha256 BLOB NOT NULL,
    header BLOB NOT NULL, prefix BLOB NOT NULL, suffix BLOB NOT NULL,
    CHECK ((due_at IS NOT NULL) = (state IN ('ready', 'deferred')))
  ) STRICT;
  CREATE INDEX recipients_due ON recipients (due_at, id) WHERE due_at IS NOT NULL;
  CREATE INDEX recipients_state ON recipients (state);
  CREATE INDEX recipients_message ON recipients (message);
  CREATE INDEX recipients_body ON recipients (body);
  CREATE TABLE set_aside (row INTEGER PRIMARY KEY, reason TEXT NOT NULL) STRICT;
  CREATE TABLE audit_pending (last_seq INTEGER PRIMARY KEY, last_hash TEXT NOT NULL, lines BLOB NOT NULL) STRICT;
  CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL, bytes INTEGER NOT NULL) STRICT;
  INSERT INTO audit_head VALUES (1, 0, '${'0'.repeat(64)}', 0);
  CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO totals VALUES ('accepted', 0), ('delivered', 0), ('bounced', 0), ('removed', 0), ('ambiguous', 0), ('body_bytes', 0);
`;

// Schema 2: what the envelope said besides addresses, in tables of their own. SQLite adds no column to a STRICT table in which
// one row is damaged, and a damaged row must not keep a relay from starting (P10). A row is there where something was said.
// `sender` is NULL where it is the message's own; `notice` holds the facts of a notice that is composed while it is sent.
const ASKED_TABLES = `
  CREATE TABLE message_asked (message TEXT PRIMARY KEY, envid TEXT, submitter TEXT, notice TEXT) STRICT, WITHOUT ROWID;
  CREATE TABLE recipient_asked (
    row INTEGER PRIMARY KEY, sender TEXT, notify TEXT, orcpt TEXT, delay_noticed INTEGER NOT NULL DEFAULT 0
  ) STRICT;
`;

// Schema 3: which certificates mail was sealed to (known.ts). `last_at` is when a certificate was used last, or seen waiting.
const KNOWN_TABLES = `
  CREATE TABLE known_certificates (
    address TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('used', 'waiting', 'approved')),
    subject TEXT NOT NULL, issuer TEXT NOT NULL, serial TEXT NOT NULL, not_after INTEGER NOT NULL, source TEXT NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, approved_by TEXT,
    PRIMARY KEY (address, fingerprint)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX known_last ON known_certificates (last_at);
`;

// Schema 4: records of other parts (records.ts).
const RECORD_TABLES = `
  CREATE TABLE records (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (kind, key)
  ) STRICT, WITHOUT ROWID;
`;

// Schema 5: rows that are not to be sent as they are (queue.ts, Kept).
const KEPT_TABLES = `
  CREATE TABLE recipient_kept (row INTEGER PRIMARY KEY, kind TEXT NOT NULL, facts TEXT NOT NULL) STRICT;
`;

// Schema 6: the segments of the audit log that are kept, each by the line it goes on from; the last is the one that is written. `at`: the
// newest time in the lines before it, ms since the epoch. audit_clock: how far retention believes the clock.
const SEGMENT_TABLES = `
  CREATE TABLE IF NOT EXISTS audit_segments (seq INTEGER PRIMARY KEY, hash TEXT NOT NULL, bytes INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
  INSERT OR IGNORE INTO audit_segments VALUES (0, '${'0'.repeat(64)}', 0, 0);
  CREATE TABLE IF NOT EXISTS audit_clock (one INTEGER PRIMARY KEY CHECK (one = 1), at INTEGER NOT NULL) STRICT;
`;

/** Opens for writing, makes the tables where the file is new, and brings those of an older release up to this one. Throws `queue-newer`, `storage-failed`, `storage-full`. */
export function openDatabase(path: string): DatabaseSync {
  try {
    makeFile(path);
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA trusted_schema = OFF;
      PRAGMA cell_size_check = ON;
      PRAGMA temp_store = MEMORY;
      PRAGMA cache_size = -${CACHE_KIB};
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};
      PRAGMA journal_size_limit = ${WAL_KEPT_BYTES};
    `);
    if (readPragma(db, 'user_version') === 0 && db.prepare('SELECT 1 FROM sqlite_schema').get() === undefined)
      db.exec(
        `BEGIN IMMEDIATE; ${TABLES} ${ASKED_TABLES} ${KNOWN_TABLES} ${RECORD_TABLES} ${KEPT_TABLES} ${SEGMENT_TABLES} PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`,
      );
    assertOurs(db, path);
    bringUpToDate(db);
    return db;
  } catch (error) {
    throw asStorageError(error, path);
  }
}

/** All of it or nothing: what a kill leaves behind is the older schema, whole. */
function bringUpToDate(db: DatabaseSync): void {
  const found = schemaVersion(db);
  if (found >= SCHEMA_VERSION) return;
  const later = [
    found < 2 ? ASKED_TABLES : '',
    found < 3 ? KNOWN_TABLES : '',
    found < 4 ? RECORD_TABLES : '',
    found < 5 ? KEPT_TABLES : '',
    SEGMENT_TABLES,
  ].join('');
  db.enableDefensive(false);
  try {
    db.exec('BEGIN IMMEDIATE');
    db.exec(later);
    if (found < 5) allowHeld(db);
    db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK');
    throw error;
  } finally {
    db.exec('PRAGMA writable_schema = OFF');
    db.enableDefensive(true);
  }
}

/**
 * One more state in the CHECK of the table, in the place where it is written (https://www.sqlite.org/lang_altertable.html §7): to make the
 * table anew is to write every row, and one damaged row would keep the relay from starting (P10).
 */
function allowHeld(db: DatabaseSync): void {
  const version = Number(db.prepare('PRAGMA schema_version').get()?.['schema_version']);
  db.exec('PRAGMA writable_schema = ON');
  const table = `type = 'table' AND name = 'recipients' AND instr(sql, ?1) > 0`;
  const { changes } = db
    .prepare(`UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE ${table}`)
    .run(`(${STATES_BEFORE_5})`, `(${STATES})`);
  if (changes !== 1) throw new SealpostError('storage-failed', { detail: 'the table of recipients is not as this program made it' });
  // So that every connection, this one too, reads the table anew.
  db.exec(`PRAGMA schema_version = ${version + 1}`);
}

/** Opens beside a running relay, for reading alone. Throws `queue-newer`, `storage-failed`, `file-unreadable`. */
export function openDatabaseReadOnly(path: string): DatabaseSync {
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS });
    assertOurs(db, path);
    return db;
  } catch (cause) {
    if (cause instanceof SealpostError) throw cause;
    throw new SealpostError('file-unreadable', { detail: path, hint: 'has the relay run here? sealpost serve makes the queue', cause });
  }
}

/**
 * Owns the queue until the connection closes, however the process ends: the lock is the operating system's, and kill -9 frees
 * it. A database of its own, since an exclusive lock on the queue's would shut out the commands that read it.
 */
export function takeLock(path: string): DatabaseSync {
  try {
    makeFile(path);
    const db = new DatabaseSync(path, { timeout: 0 });
    db.exec('BEGIN EXCLUSIVE');
    return db;
  } catch (cause) {
    if (resultCode(cause) === SQLITE_BUSY) throw new SealpostError('queue-in-use', { detail: path, cause });
    throw asStorageError(cause, path);
  }
}

/** SQLite would make it 0644; -wal and -shm take the mode of the database. */
function makeFile(path: string): void {
  closeSync(openSync(path, 'a', FILE_MODE));
}

function assertOurs(db: DatabaseSync, path: string): void {
  const application = readPragma(db, 'application_id');
  const version = readPragma(db, 'user_version');
  if (application !== APPLICATION_ID)
    throw new SealpostError('storage-failed', {
      detail: `${path} is not a sealpost queue`,
      hint: 'let queue.sqlite name a path of its own',
    });
  if (version > SCHEMA_VERSION)
    throw new SealpostError('queue-newer', { detail: `schema ${version}, this release knows ${SCHEMA_VERSION}` });
}

/** What a database opened for reading may be short of: it stays as an older release left it until a relay opens it. */
export const schemaVersion = (db: DatabaseSync): number => readPragma(db, 'user_version');

function readPragma(db: DatabaseSync, name: 'application_id' | 'user_version'): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()?.[name]);
}
