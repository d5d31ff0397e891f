/** `certs try` and `certs confirm`: whether a reader opens sealed mail, before nothing else is sent. */
import { randomBytes } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { pino } from 'pino';
import { openSiteCertificates, type SiteCertificates } from '../../certificates/site.ts';
import { makeKnownCertificates } from '../../change-control.ts';
import type { Config } from '../../config.ts';
import { addressKey } from '../../config/audit-keys.ts';
import type { ControlHandlers, ControlRequest } from '../../control.ts';
import { SealpostError } from '../../errors.ts';
import { newQueueId } from '../../queue/id.ts';
import { queuePaths } from '../../queue/paths.ts';
import type { QueueStore } from '../../queue/queue.ts';
import { chooseForm } from '../../seal/algorithms.ts';
import { makeOwnMail } from '../../upkeep/own-mail.ts';
import { type TryAnswer, tryHandlers } from '../../upkeep/try.ts';
import { changeQueue } from '../change.ts';
import { operatorName } from '../locate.ts';
import type { Terminal } from '../terminal.ts';
import { printable } from './account.ts';
import { pathsOf } from './paths.ts';

interface Wish {
  readonly by?: string;
}

export async function tryAddress(address: string, config: Config, terminal: Terminal, { by }: Wish): Promise<void> {
  const { answer, relayed } = await ask({ command: 'certs-try', address, operator: named(terminal, by) }, config, terminal);
  if (!isTryAnswer(answer)) throw new SealpostError('internal', { detail: 'an answer of another form' });
  const { queue_id: id, sealed_to: sealedTo, lacking, valid_until: until } = answer;
  const when = relayed ? 'is on its way' : 'is queued and goes out once the relay runs: sealpost serve';
  const lines = [
    `${address}: a sealed message with a code ${when} (${id})`,
    ...sealedTo.flatMap(({ address: whose, sha256 }) => sha256.map((one) => `  sealed to ${whose}, SHA-256 ${one}`)),
    ...(sealedTo.length > 1 ? ['  one code for all of them: it tells that one of them can read it, not who'] : []),
    ...lacking.map((member) => `  ${member} has no usable certificate and was left out`),
    `once they tell you the code, by ${until.slice(0, 10)}: sealpost certs confirm ${address} CODE`,
  ];
  terminal.stdout.write(printable(`${lines.join('\n')}\n`));
}

/** Of a code on standard input; typed ones have eight letters. */
const MAX_CODE = 64;

/** `code` is `-` where it stands on standard input. */
export async function confirmAddress(address: string, code: string, config: Config, terminal: Terminal, { by }: Wish): Promise<void> {
  const told = code === '-' ? (await text(terminal.stdin)).slice(0, MAX_CODE) : code;
  const { answer } = await ask({ command: 'certs-confirm', address, code: told, operator: named(terminal, by) }, config, terminal);
  const fingerprints = Array.isArray(answer) ? answer.map(String) : [];
  const lines = [`${address}: confirmed, sealed mail can be read`, ...fingerprints.map((one) => `  with the key of SHA-256 ${one}`)];
  // Which of several keys it was, the code does not tell.
  if (fingerprints.length > 1) lines.push('  (one of these)');
  terminal.stdout.write(printable(`${lines.join('\n')}\n`));
}

const named = (terminal: Terminal, by: string | undefined): string =>
  by === undefined ? operatorName(terminal) : `${by}, typed by ${operatorName(terminal)}`;

/** `relayed`: by the relay that runs. */
async function ask(
  request: ControlRequest,
  config: Config,
  terminal: Terminal,
): Promise<{ readonly answer: unknown; readonly relayed: boolean }> {
  const opened: SiteCertificates[] = [];
  try {
    const handlersFor = (store: QueueStore): ControlHandlers => {
      const { handlers, certificates } = handlersOf(store, config, terminal);
      opened.push(certificates);
      return handlers;
    };
    // Before the first start there is no queue yet; a code may be sent all the same.
    const make = request.command === 'certs-try';
    const answer = await changeQueue(
      terminal,
      queuePaths(config.queue.sqlite, config.audit.file, addressKey(config)),
      request,
      handlersFor,
      { make },
    );
    return { answer, relayed: opened.length === 0 };
  } finally {
    for (const certificates of opened) await certificates.close();
  }
}

/** What the relay would be asked for, where none runs. */
function handlersOf(
  store: QueueStore,
  config: Config,
  { env }: Terminal,
): { readonly handlers: ControlHandlers; readonly certificates: SiteCertificates } {
  const [log, now] = [pino({ level: 'silent' }), Date.now];
  const { pin } = config.certificates;
  const known = pin ? makeKnownCertificates(store.known, log) : undefined;
  const certificates = openSiteCertificates(config.certificates, { ...pathsOf(config, env).options, known, now, log });
  const { addressBook } = certificates;
  const ownMail = makeOwnMail({
    hostname: config.hostname,
    operator: config.operator,
    addressBook,
    pinned: pin,
    chooseForm: (list) => chooseForm(list, config.profile),
    outbox: store,
    // No upstream is asked here; a message of this size is taken by each.
    largest: () => undefined,
    newId: () => newQueueId(now(), randomBytes),
    now,
    randomBytes,
    log,
  });
  const { hostname, operator } = config;
  const handlers = tryHandlers({ records: store.records, ownMail, addressBook, hostname, operator, now, randomBytes });
  return { handlers, certificates };
}

const isTryAnswer = (value: unknown): value is TryAnswer =>
  typeof value === 'object' &&
  value !== null &&
  'queue_id' in value &&
  'valid_until' in value &&
  typeof value.valid_until === 'string' &&
  'sealed_to' in value &&
  Array.isArray(value.sealed_to) &&
  'lacking' in value &&
  Array.isArray(value.lacking);
