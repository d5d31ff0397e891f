/**
 * READ FIRST. The relay: its parts, and how they are joined.
 *
 *   form script ─ SMTP ─▶ ingress ─▶ path: decide ─▶ message ─▶ seal ─▶ queue ══ 250        (path.ts, in this order)
 *                                                                       queue ─▶ delivery ─▶ upstream
 *
 * Each part is built here from the configuration and knows only the interface of the next. Start builds in the order of what
 * needs what; stop unwinds in reverse, and a start that fails releases what it built.
 */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import process from 'node:process';
import type { Logger } from 'pino';
import type { AuditEvent } from './audit.ts';
import type { Certificate } from './certificates/certificate.ts';
import { openSiteCertificates } from './certificates/site.ts';
import { knownHandlers, makeKnownCertificates } from './change-control.ts';
import type { Config } from './config.ts';
import { addressKey, auditKeyFiles } from './config/audit-keys.ts';
import type { Environment } from './config/environment.ts';
import { readSecret } from './config/secret.ts';
import { readLdapSecrets } from './config/ldap-secrets.ts';
import { readUpstreamSecrets } from './config/upstream-secrets.ts';
import { queueHandlers, serveControl } from './control.ts';
import { makeIntake } from './delivery/intake.ts';
import { makeNotices } from './delivery/notices.ts';
import { openRateFile } from './delivery/rate-record.ts';
import { makeRoute } from './delivery/route.ts';
import { makeScheduler, type Counters } from './delivery/scheduler.ts';
import { makeUpstream } from './delivery/upstream.ts';
import { SealpostError } from './errors.ts';
import { openHold } from './site/hold-keys.ts';
import { openIdentities } from './site/identities.ts';
import { openLiveCertificate } from './ingress/certificate.ts';
import { type ListenerOptions, makeIngress } from './ingress/smtp.ts';
import { openUsers } from './ingress/users/file.ts';
import { anyOf, parsePattern, type AddressPattern } from './message/pattern.ts';
import { makePath } from './path.ts';
import type { AlgorithmPolicy, Rule } from './policy/decide.ts';
import { openRules, type RulesNews } from './policy/live.ts';
import { newQueueId } from './queue/id.ts';
import { queuePaths } from './queue/paths.ts';
import type { QueueStore } from './queue/queue.ts';
import { makeLiveSpool } from './queue/spool/live.ts';
import { openSqliteQueue } from './queue/sqlite.ts';
import { makeReadiness, watchRefusal } from './readiness.ts';
import { makeRelease } from './release/release.ts';
import { makeNoticeSealer } from './seal-notice.ts';
import { chooseForm, type Form } from './seal/algorithms.ts';
import { siteFaults } from './site/faults.ts';
import { loadCapabilities } from './upkeep/capabilities.ts';
import { withHarvestAddress } from './upkeep/harvest-address.ts';
import { makeHarvested } from './upkeep/harvested.ts';
import { makeHeldUpkeep } from './upkeep/held.ts';
import { makeOwnFolder, ownFolder } from './upkeep/own-certificates.ts';
import type { CertificateSeries } from './upkeep/expiry/daily.ts';
import { makeOwnMail } from './upkeep/own-mail.ts';
import { startCheckpoints } from './upkeep/checkpoints.ts';
import { openOwnWords } from './upkeep/own-word.ts';
import { clearBounced, clearDaily } from './upkeep/bounced.ts';
import { makeUpkeep } from './upkeep/upkeep.ts';

export interface Relay {
  /** The real addresses of the listeners, in the order of the configuration. */
  readonly listening: readonly { readonly host: string; readonly port: number }[];
  readonly queue: QueueStore;
  counters(): Counters;
  /** Numbers about certificates, of the last daily round; undefined until there was one. */
  certificateSeries(): CertificateSeries | undefined;
  /** Takes no more mail, lets what is under way end within STOP_MS, then closes everything. */
  stop(): Promise<void>;
}

export interface Surroundings {
  readonly log: Logger;
  readonly now: () => number;
  /** Where secrets of the form env:NAME stand. */
  readonly env: Environment;
  readonly version: string;
  /** The queue can store nothing any more: the caller stops the relay and lets it be started again. */
  readonly onFailure: (error: SealpostError) => void;
}

/** What a service manager waits for before it kills. */
const STOP_MS = 30_000;
/** Of that, for clients that are sending; the rest is for delivery. */
const STOP_INGRESS_MS = 10_000;

/** Throws the typed error of the part that could not start. */
export async function startRelay(config: Config, { log, now, env, version, onFailure }: Surroundings): Promise<Relay> {
  const undo: (() => unknown)[] = [];
  const unwind = (): Promise<void> => unwindAll(undo.splice(0));
  /** A listener's keys with its certificate, which is looked after until the stop. */
  const withCertificate = async (listener: Config['listen'][number]): Promise<ListenerOptions> => {
    const { host, port, auth, tls: mode, cert, key, clientCertificates } = listener;
    if (mode === 'off') return { host, port, auth };
    if (cert === undefined || key === undefined)
      throw new SealpostError('config-invalid', { detail: `no certificate for ${host}:${port}` });
    const keyFile = key.from === 'file' ? key.path : undefined;
    const files = { certificate: cert, keyFile, readKey: () => readSecret(key, env) };
    const live = await openLiveCertificate(files, { log: log.child({ listener: `${host}:${port}` }), now });
    undo.push(() => live.close());
    return { host, port, auth, tls: { mode, clientCertificates, context: () => live.context() } };
  };
  const failed = (error: SealpostError): void => {
    readiness.tell('storage-failed', true);
    onFailure(error);
  };
  const readiness = makeReadiness({
    now,
    onChange: ({ state, reasons, notes }) => {
      const codes = { state, reasons: reasons.map(({ code }) => code), notes: notes.map(({ code }) => code) };
      // That it starts and stops is how a relay lives, and nobody's worry.
      const isWorry = notes.length > 0 || reasons.some(({ code }) => code !== 'starting' && code !== 'stopping');
      log[isWorry ? 'warn' : 'info'](codes, 'readiness changed');
    },
  });
  try {
    if (config.admin !== undefined) {
      const { serveHealth } = await import('./admin/health.ts');
      const health = await serveHealth({ ...config.admin, standing: () => readiness.standing(), log });
      undo.push(() => health.close());
    }
    const verify = async (rules: readonly Rule[]) => (await siteFaults(config, rules, { env, now: now() })).ofRules;
    const rules = await openRules(config.policies, { log, verify });
    undo.push(() => rules.close());
    const identities = await openIdentities(config, { env, now, log });
    undo.push(() => identities.close());
    const users = config.clients.users === undefined ? undefined : await openUsers({ file: config.clients.users, log, now });
    undo.push(() => users?.close());

    const paths = queuePaths(config.queue.sqlite, config.audit.file, addressKey(config));
    const queue = await openSqliteQueue({ ...paths, auditRotate: config.audit.rotate, now, log, onFailure: failed });
    undo.push(() => queue.close());
    const checkpoints = { key: auditKeyFiles(config.keys).signing, file: paths.checkpoints, head: queue.auditHead };
    undo.push(await startCheckpoints({ ...checkpoints, hostname: config.hostname, now, log }));
    await queue.record([
      { event: 'started', version, hostname: config.hostname, profile: config.profile },
      { event: 'config-loaded', sha256: config.sha256, overridden: config.overridden.join(', ') },
    ]);
    undo.push(() => queue.record([{ event: 'stopped' }]));

    await makeOwnFolder(config, log);
    const ownWords = await openOwnWords(queue.records, log);
    const certificates = openSiteCertificates(config.certificates, {
      now,
      log,
      patience: config.timeouts.lookup,
      cache: { folder: dirname(config.queue.sqlite), writable: true },
      own: ownFolder(config),
      ldapSecrets: (places) => readLdapSecrets(places, env),
      known: config.certificates.pin ? makeKnownCertificates(queue.known, log) : undefined,
      ownWord: ownWords.ask,
    });
    undo.push(() => certificates.close());

    const random = Math.random; // spreads retries; nothing secret comes from it
    const rates = await openRateFile(paths.rates, log);
    const around = { hostname: config.hostname, now, random, rates };
    const upstreams = config.upstream.map((upstream) =>
      makeUpstream({ ...upstream, account: upstream.auth?.user, secrets: () => readUpstreamSecrets(upstream, env) }, around),
    );
    const route = makeRoute(upstreams, log);
    undo.push(() => route.close());
    const capabilities = await loadCapabilities(queue, log);
    const sealing = {
      hostname: config.hostname,
      addressBook: certificates.addressBook,
      pinned: config.certificates.pin,
      chooseForm: (list: readonly Certificate[], said?: AlgorithmPolicy): Form =>
        chooseForm(
          list.map((one) => ({ capabilities: capabilities.of(one) })),
          config.profile,
          said,
        ),
      now,
      randomBytes,
      log,
    };
    const newId = (): string => newQueueId(now(), randomBytes);
    const notices = makeNotices({
      hostname: config.hostname,
      operator: config.operator,
      ...config.notices,
      domains: sendersOf(config.notices.domains),
      maxAge: config.retry.maxAge,
      holdMaxAge: config.hold.maxAge,
      sealer: makeNoticeSealer({ ...sealing, record: (events, uses) => queue.record(events, uses) }),
      newId,
      now,
      elapsed: () => performance.now(),
      log,
    });
    const spool = makeLiveSpool({
      folder: config.keys,
      randomBytes,
      waits: async () => (await queue.list({ kept: 'spooled' }, 1)).length > 0,
      log,
    });
    await rules.watch({
      prepare: (list) => spool.prepare(list.some(({ then }) => then === 'pass')),
      onNews: (news) => {
        readiness.tell('rules-faulty', news.kind === 'kept');
        void tellRules(news, queue, log);
      },
    });
    const scheduler = makeScheduler({ queue, route, retry: config.retry, notices, spool, now, random, log });
    scheduler.start();
    undo.push(() => scheduler.stop(STOP_MS - STOP_INGRESS_MS));
    undo.push(pruneDaily(queue, config.queue.keptBounced, now, log));

    const largest = (): number | undefined => route.largest();
    const onQueued = (): void => scheduler.wake();
    const outbox = { newBody: () => queue.newBody(), enqueue: makeIntake(queue, scheduler), records: queue.records };
    const ownMail = makeOwnMail({ ...sealing, largest, outbox, operator: config.operator, newId });
    const harvested = makeHarvested({ config, store: queue, capabilities, now, log });
    const store = { ...queue, records: ownWords.records };
    const pruneAudit = (): Promise<number> => queue.pruneAudit(config.audit.keep);
    const upkeep = makeUpkeep({ config, store, certificates, ownMail, harvested, pruneAudit, now, randomBytes, env, log });
    undo.push(() => upkeep.stop());

    const hold = await openHold(config, env, { log, now });
    const releasing = makeRelease({ ...sealing, largest, onQueued, rules: rules.current, signers: identities, queue });
    const held = makeHeldUpkeep({
      queue,
      hold,
      releasing,
      rules: rules.current,
      addressBook: certificates.addressBook,
      notices,
      maxAge: config.hold.maxAge,
      onQueued,
      now,
      elapsed: () => performance.now(),
      log,
    });
    undo.push(() => held.stop());

    const retryNow = (): void => {
      route.revive();
      scheduler.wake();
    };
    const ownState = { state: () => Promise.resolve({ ...readiness.standing(), version, pid: process.pid }) };
    const changing = held.handlersWith({ ...knownHandlers(queue.known), ...upkeep.handlers });
    const handlers = { ...queueHandlers({ store: queue, now, wake: retryNow }), ...changing, ...ownState };
    const control = await serveControl({ socket: paths.socket, handlers, log });
    undo.push(() => control.close());

    const notes = {
      'upstreams-failing': () => !route.well(),
      'sources-failing': () => !certificates.answering(),
      'spool-key-lost': () => spool.isLost(),
    };
    const intake = await watchRefusal({ readiness, refusals: () => queue.refusals(), notes });
    undo.push(() => intake.stop());
    const path = makePath({
      refusal: () => intake.refusal(),
      ...sealing,
      rules: rules.current,
      signers: identities,
      outbox,
      mixed: config.mixed,
      hold: () => hold.certificate(),
      notices,
      spool,
      largest,
    });
    const listen: ListenerOptions[] = [];
    for (const entry of config.listen) listen.push(await withCertificate(entry));
    const ingress = makeIngress({
      hostname: config.hostname,
      listen,
      networks: config.clients.networks,
      proxies: config.clients.proxy,
      xclients: config.clients.xclient,
      clientRate: config.limits.clientRate,
      users,
      limits: config.limits,
      timeouts: config.timeouts,
      reception: withHarvestAddress(path, {
        address: config.certificates.harvest.address,
        patience: config.timeouts.lookup,
        certificates,
        harvested,
        now,
        log,
      }),
      log,
      now,
    });
    await upkeep.prepare();
    const listening = await ingress.start();
    undo.push(() => ingress.stop(STOP_INGRESS_MS));
    await upkeep.start();
    held.start();
    readiness.tell('starting', false);
    // In the background: what the upstreams take is known then, mostly, before the first message is too big for them.
    route.largest();
    return {
      listening,
      queue,
      counters: () => scheduler.counters(),
      certificateSeries: () => upkeep.series(),
      stop: () => {
        readiness.tell('stopping', true);
        return unwind();
      },
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}

/** In reverse, each to its end: a step left out keeps the process, where the queue has failed for instance. Throws what failed first. */
export async function unwindAll(undo: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of undo.toReversed())
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  if (failures.length > 0) throw failures[0];
}

/** The audit log says since when which rules counted. */
function tellRules(news: RulesNews, queue: QueueStore, log: Logger): Promise<void> {
  const event: AuditEvent =
    news.kind === 'loaded'
      ? { event: 'rules-loaded', rules: news.rules, sha256: news.sha256 }
      : { event: 'rules-kept', faults: news.faults };
  return queue.record([event]).catch((error: unknown) => log.error({ err: error }, 'the rules could not be written into the audit log'));
}

/** The senders of these domains; the configuration has taken only what makes a pattern. */
function sendersOf(domains: readonly string[]): AddressPattern | undefined {
  const patterns = domains.map((domain) => parsePattern(`*@${domain}`)).flatMap((one) => (one.kind === 'pattern' ? [one.pattern] : []));
  return patterns.length === 0 ? undefined : anyOf(patterns);
}

/** Bounced rows, and certificates that nothing is sealed to any more, stay for a while, then leave; answers how to end it. */
function pruneDaily(queue: QueueStore, kept: number, now: () => number, log: Logger): () => void {
  return clearDaily(() => {
    clearBounced({ queue, kept, now, log }).catch((error: unknown) =>
      log.error({ err: error }, 'old bounced messages were not cleared away'),
    );
    queue.known.prune().catch((error: unknown) => log.error({ err: error }, 'certificates that are not used any more were not forgotten'));
  });
}
