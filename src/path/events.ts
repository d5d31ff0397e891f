/** What the audit log says of a message that was taken (P7, P9), and which certificates change control gets to know by it. */
import type { AuditEvent } from '../audit.ts';
import type { Share, Way } from '../certificates/address-book.ts';
import type { Certificate } from '../certificates/certificate.ts';
import type { Chosen } from '../certificates/directory.ts';
import { certificateUse } from '../change-control.ts';
import type { Envelope } from '../message/envelope.ts';
import type { HeldReader, PassedReader, Plan, Refused, SealedReader } from './plan.ts';
import type { Dress } from '../policy/decide.ts';
import type { CertificateUse } from '../queue/known.ts';
import type { Form } from '../seal/algorithms.ts';

export function accepted(id: string, envelope: Envelope, size: number): AuditEvent {
  const { sender, recipients, client, protocol } = envelope;
  return {
    event: 'accepted',
    queue_id: id,
    sender: sender?.address ?? '',
    recipients: recipients.length,
    size,
    client: client.address,
    tls: client.tls,
    user: client.user?.name ?? null,
    protocol,
  };
}

/** What becomes of one recipient. `signedWith`: the fingerprint of the signer's certificate, where it is signed now. */
export function eventsOf(id: string, plan: Plan, signedWith?: string): AuditEvent[] {
  switch (plan.kind) {
    case 'seal':
      return [...archived(id, plan), ...sealed(id, plan, signedWith)];
    case 'hold':
      return [...archived(id, plan), held(id, plan, signedWith)];
    case 'pass':
      return [passed(id, plan)];
    case 'refused':
      return [refused(id, plan)];
  }
}

/** What change control keeps, under the address whose certificates they are. */
export const usesOf = ({ resolution }: SealedReader, about: Parameters<typeof certificateUse>[2]): CertificateUse[] =>
  resolution.shares.flatMap(({ address, chosen }) => chosen.map((candidate) => certificateUse(address, candidate, about)));

const about = (id: string, { recipient, rule }: Plan) => ({ queue_id: id, recipient: recipient.address, rule });

const archived = (id: string, reader: SealedReader | HeldReader): AuditEvent[] =>
  reader.archive ? [{ event: 'archived', ...about(id, reader) }] : [];

/** An event for each address whose certificates the message names, and one for each member of a group that has none (P9). */
function sealed(id: string, reader: SealedReader, signedWith: string | undefined): AuditEvent[] {
  const { resolution, form, dress } = reader;
  const { way, shares, lacking } = resolution;
  const common = { event: 'sealed', ...about(id, reader) } as const;
  return [
    ...shares.map(({ address, chosen }): AuditEvent => ({
      ...common,
      ...wayOf(way, address),
      ...namesOf(chosen, form),
      ...signatureOf(dress, signedWith),
    })),
    ...lacking.map((member): AuditEvent => ({ event: 'skipped', ...about(id, reader), member })),
  ];
}

function held(id: string, reader: HeldReader, signedWith: string | undefined): AuditEvent {
  const { because, certificates, form, dress } = reader;
  const certificate = certificates.map(({ fingerprint }) => fingerprint).join(', ');
  const key = keyOf(certificates[0], form);
  return {
    event: 'held',
    ...about(id, reader),
    because,
    cipher: form.cipher,
    key,
    certificate_sha256: certificate,
    ...signatureOf(dress, signedWith),
  };
}

const passed = (id: string, reader: PassedReader): AuditEvent => ({ event: 'passed', ...about(id, reader), came_sealed: reader.sealed });

/** `split`: the others were taken, and of this one a notice tells. */
function refused(id: string, plan: Refused): AuditEvent {
  const { code, status } = plan.error.reply;
  return { event: 'bounced', ...about(id, plan), reason: `${code} ${status} ${plan.error.code}` };
}

/** Whose certificate it is, where it is not the recipient's own. */
function wayOf(way: Way, address: string): { readonly [attribute: string]: string } {
  switch (way) {
    case 'address':
      return {};
    case 'group':
      return { member: address };
    case 'alias':
      return { alias_of: address };
    case 'domain':
      return { domain_certificate: address };
  }
  return way satisfies never;
}

/** An identity is renewed under its name: the fingerprint says with which of its certificates. */
const signatureOf = ({ sign }: Dress, signedWith: string | undefined): { readonly [attribute: string]: string } =>
  sign === undefined
    ? {}
    : {
        signed_by: sign.identity,
        signed_form: sign.form,
        ...(signedWith === undefined ? {} : { signed_certificate_sha256: signedWith }),
      };

const keyOf = (certificate: Pick<Certificate, 'key'> | undefined, form: Form): string =>
  certificate?.key?.type === 'ec' ? 'ecdh' : form.keyTransport;

function namesOf(chosen: Share['chosen'], form: Form) {
  const list = (value: (candidate: Chosen) => string): string => chosen.map(value).join(', ');
  return {
    cipher: form.cipher,
    key: keyOf(chosen[0].certificate, form),
    certificate_sha256: list(({ certificate }) => certificate.fingerprint),
    certificate_issuer: list(({ certificate }) => certificate.issuer),
    certificate_serial: list(({ certificate }) => certificate.serial),
    certificate_source: list(({ source, place }) => `${source}: ${place}`),
    revocation: [...new Set(chosen.map(({ revocation }) => revocation))].join(', '),
  };
}
