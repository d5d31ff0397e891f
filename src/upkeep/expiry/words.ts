/** What the relay writes to people about certificates that end. Pure; texts that strangers chose are made fit to be read. */
import type { Certificate } from '../../certificates/certificate.ts';
import type { Due } from '../../certificates/expiry/survey.ts';
import { day } from '../../certificates/usability.ts';

/** What would move or hide the text around it; names in certificates are anybody's. */
export const fit = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu, '?');

/** Pairs of digits as people compare them, in two lines. */
export function fingerprintLines(fingerprint: string): string {
  const pairs = fingerprint.toUpperCase().match(/../g) ?? [];
  return [pairs.slice(0, 16), pairs.slice(16)].map((half) => `    ${half.join(':')}`).join('\n');
}

const lasting = (days: number): string => (days <= 0 ? 'today' : days === 1 ? 'in 1 day' : `in ${days} days`);

/** To the reader whose certificate ends. */
export function noticeText(
  { address, fingerprint, issuer, notAfter, inHouse }: Due,
  { days, operator }: { readonly days: number; readonly operator: string },
): string {
  const next = inHouse
    ? `The operator of this relay, ${operator}, issued it and will send you a
new one. Ask there if none has come a week before the end.`
    : `Ask the CA that issued it for a new one, and send it to the operator of
this relay, ${operator}: an answer to this message that
is signed with the new certificate is enough to begin with.`;
  return `Mail to ${fit(address)} is sealed to a certificate of yours.
It ends on ${day(new Date(notAfter))}, ${lasting(days)}. From then on this relay sends you
nothing more until it has a newer one.

The certificate, by its SHA-256:

${fingerprintLines(fingerprint)}

Issued by: ${fit(issuer)}

${next}

Keep the old certificate and its key: the mail you have needs them.
`;
}

export interface RenewedWords {
  readonly address: string;
  /** Names of the attachments. */
  readonly file: string;
  readonly page: string;
  readonly passphrase: string;
  readonly operator: string;
  readonly old: Pick<Certificate, 'notAfter' | 'fingerprint'>;
  readonly certificate: Pick<Certificate, 'notAfter' | 'fingerprint'>;
}

/** To the reader whose certificate the relay has renewed. It holds the password: it goes nowhere but under the seal. */
export const renewalText = ({
  address,
  file,
  page,
  passphrase,
  operator,
  old,
  certificate,
}: RenewedWords): string => `Your certificate for mail to ${fit(address)}
ends on ${day(old.notAfter)}. Here is a new one, valid until ${day(certificate.notAfter)}.

Import it beside the old one: ${file}
with this password:

    ${passphrase}

How your mail program takes it says the page ${page}.
The password stands here since only your present certificate opens this
message. Delete the message once the new certificate is imported, and keep the old one: the mail you have
needs it. Until the old one ends both open what is sent to you.

The new certificate, by its SHA-256:

${fingerprintLines(certificate.fingerprint)}

If somebody else may have the key of your present certificate, do not use
this one: tell ${operator}.
`;

/** One thing that the operator should know of. */
export interface Item {
  /** Tells it from every other; what was not there in the last summary is news. */
  readonly key: string;
  readonly section: Section;
  readonly line: string;
}

export const sections = ['ended', 'ending', 'failed', 'waiting', 'tried', 'held', 'lists', 'renewed'] as const;
export type Section = (typeof sections)[number];

const titles: Readonly<Record<Section, string>> = {
  ended: 'Have ended, and nothing else of the reader can be used: their mail is refused',
  ending: 'End soon, and nothing else of the reader lasts',
  failed: 'Could not be renewed by the relay',
  waiting: 'Wait for your approval (sealpost certs pending)',
  tried: 'Were tried, and the reader has not confirmed it',
  held: 'Messages that are held until they can be sealed',
  lists: 'Revocation lists that end',
  renewed: 'Renewed by the relay since the last summary',
};

/** In all sections together. */
const MAX_LINES = 500;

/** `old`: certificates that ended long ago and are not listed any more. */
export function summaryText(items: readonly Item[], { old }: { readonly old: number }): string {
  let room = MAX_LINES;
  const parts = sections.flatMap((section) => {
    const own = items.filter((item) => item.section === section);
    if (own.length === 0) return [];
    const shown = own.slice(0, room);
    room -= shown.length;
    const rest = own.length - shown.length;
    const more = rest === 0 ? [] : [`  and ${rest} more`];
    return [[`${titles[section]}: ${own.length}`, ...shown.map(({ line }) => `  ${fit(line)}`), ...more].join('\n')];
  });
  const nothing = parts.length === 0 ? ['No certificate ends soon, and nothing waits for you.'] : [];
  const before =
    old === 0 ? [] : [`${old === 1 ? '1 certificate' : `${old} certificates`} ended more than 90 days ago and can be taken away.`];
  return `${[...nothing, ...parts, ...before, 'More, and the newest state: sealpost certs expiring'].join('\n\n')}\n`;
}

/** One line of a summary about a certificate. */
export const dueLine = ({ address, notAfter, place, issuer, inHouse }: Due): string =>
  `${day(new Date(notAfter))}  ${address}  ${place}  ${inHouse ? 'in-house' : issuer}`;
