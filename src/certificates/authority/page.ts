/**
 * The page that goes to a reader with their PKCS#12: whose it is, how each mail program takes it, what to do when the device is lost.
 * One file of HTML, with nothing in it that is fetched or run, so that it can be mailed, printed, and opened anywhere. Never in it: the
 * password, which goes another way or in the sealed message around it, and the key.
 */
import { createHash } from 'node:crypto';
import type { Certificate } from '../certificate.ts';
import { markup, type Markup } from './markup.ts';
import { type Program, programsFor } from './programs.ts';
import { PAGE_STYLE } from './style.ts';

export interface PageContent {
  readonly address: string;
  /** What the reader is called; undefined where that is the address. */
  readonly name?: string | undefined;
  /** The name of the PKCS#12 beside the page. */
  readonly file: string;
  readonly certificate: Certificate;
  /** The CA that its programs are asked to trust. */
  readonly root: Certificate;
  /** Whom the reader turns to: an address. */
  readonly operator: string;
  /** The certificate that this one takes over from. */
  readonly renews?: Pick<Certificate, 'notAfter' | 'fingerprint'> | undefined;
  /** The password stands in the message that brings the page, under its seal; else it comes another way. */
  readonly passwordBeside?: true;
}

/** A whole HTML document. */
export function instructionPage(content: PageContent): string {
  const { address, certificate, root, file } = content;
  const authorityName = commonName(root.subject);
  const programs = programsFor({ file, authorityName, key: certificate.key?.type === 'ec' ? 'ec' : 'rsa' });
  const title = markup`Your certificate for sealed mail: ${address}`;
  return markup`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
<style>${{ html: PAGE_STYLE }}</style>
</head>
<body>
<main>
<h1>Your certificate for sealed mail</h1>
${introduction(content)}
${content.renews === undefined ? '' : renewal(content.renews)}
<nav aria-labelledby="which"><h2 id="which">Which mail program have you?</h2><ul>
${programs.map(({ id, title: name }) => markup`<li><a href="#${id}">${name}</a></li>\n`)}</ul></nav>
${facts(content)}
${beforeYouStart(content)}
<h2 id="programs">Take it into your mail program</h2>
${programs.map(section)}
${afterwards(content, authorityName)}
${fingerprints(content)}
</main>
</body>
</html>
`.html;
}

/** Nothing is fetched, run, framed or sent; the style that stands in the page is known by its hash (CSP level 3). */
const policy = (): string => {
  const hash = createHash('sha256').update(PAGE_STYLE).digest('base64');
  return `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'`;
};

const introduction = ({ name, address, file }: PageContent): Markup =>
  markup`<p>${name === undefined ? markup`For` : markup`For <strong><bdi>${name}</bdi></strong>,`} <strong><bdi>${address}</bdi></strong>. Mail to this address comes sealed: encrypted, so that nobody reads it on its way or on a server. The file <strong><bdi>${file}</bdi></strong> holds the key that opens it. This page says how your mail program takes it.</p>`;

const renewal = ({ notAfter, fingerprint }: Pick<Certificate, 'notAfter' | 'fingerprint'>): Markup =>
  markup`<p class="notice"><strong>This one is new. Keep the old one too.</strong> Take the new file in beside the certificate that you have (valid until ${day(notAfter)}, fingerprint beginning ${grouped(fingerprint.slice(0, 16))}) and delete nothing: mail that came before opens with the old one only.</p>`;

const row = (term: string, value: Markup): Markup => markup`<div><dt>${term}</dt><dd>${value}</dd></div>\n`;

function facts({ file, certificate, root, operator }: PageContent): Markup {
  return markup`<h2>What you have got</h2>
<dl>
${[
  row('File', markup`<bdi>${file}</bdi>`),
  row('Valid', markup`from ${day(certificate.notBefore)} until ${day(certificate.notAfter)}`),
  row('Issued below', markup`<bdi>${commonName(root.subject)}</bdi>, the CA, valid until ${day(root.notAfter)}`),
  row('Questions, and loss', markup`<bdi>${operator}</bdi>`),
]}</dl>`;
}

/** At the end: figures of this length in front of the steps keep people from these. Not folded away, since paper has them too. */
function fingerprints({ certificate, root }: PageContent): Markup {
  const sha1 = (der: Buffer): string => createHash('sha1').update(der).digest('hex');
  return markup`<h2 id="fingerprints">Fingerprints, to compare</h2>
<dl>
${[
  row('Your certificate (SHA-256)', markup`<code>${grouped(certificate.fingerprint)}</code>`),
  row('Its thumbprint (SHA-1), as Windows shows it', markup`<code>${grouped(sha1(certificate.der))}</code>`),
  row('The CA (SHA-256)', markup`<code>${grouped(root.fingerprint)}</code>`),
  row('The CA’s thumbprint (SHA-1)', markup`<code>${grouped(sha1(root.der))}</code>`),
]}</dl>`;
}

const passwordWay = ({ passwordBeside }: PageContent): Markup =>
  passwordBeside === undefined
    ? markup`<strong>The password comes another way</strong>, by telephone for instance. It does not stand on this page, and nobody who runs the mail will ask you for it.`
    : markup`<strong>The password stands in the message that brought you this page</strong>, which only your present certificate opens. It does not stand on this page, and nobody who runs the mail will ask you for it. Delete the message once the file is imported.`;

const beforeYouStart = (content: PageContent): Markup => markup`<h2>Before you start</h2>
<ul>
<li>${passwordWay(content)}</li>
<li>Compare the fingerprint by telephone with whoever sent you the file. If it is another one, do not import it, and tell them.</li>
<li>Do it on each device on which you read mail. Then delete the file from downloads and mails. If you keep a copy, keep it in a safe place, and the password in another: whoever has both reads your mail, and without any copy nobody can.</li>
</ul>`;

const section = ({ id, title, steps, notes }: Program): Markup => markup`<section aria-labelledby="${id}">
<h3 id="${id}">${title}</h3>
<ol>
${steps.map((step) => markup`<li>${step}</li>\n`)}</ol>
${notes.map((note) => markup`<p class="note">${note}</p>\n`)}</section>
`;

const afterwards = ({ operator }: PageContent, authorityName: string): Markup => markup`<h2>See that it works</h2>
<p>Ask <bdi>${operator}</bdi> for a trial: a sealed message with a short code comes, and you tell them the code. A message that was sealed shows a padlock, in Thunderbird the word S/MIME with one; a file <code>smime.p7m</code> in place of the text means that the program does not know S/MIME or has not got the certificate.</p>
<h2>From then on</h2>
<ul>
<li><strong>Device lost or stolen, or somebody else may know file and password?</strong> Tell <bdi>${operator}</bdi> at once. The certificate is revoked, and you get another one.</li>
<li><strong>When a new certificate comes</strong>, import it too and keep this one, as long as you want to read the mail of its time.</li>
<li><strong>A new computer or phone?</strong> It needs the certificate as well, and the old ones.</li>
<li>A warning that “<bdi>${authorityName}</bdi>” is not known is about signatures. To read sealed mail your program need not trust it. The certificate of the CA is in the file; trust it for mail only, once its fingerprint is as below.</li>
</ul>`;

const day = (date: Date): string => date.toISOString().slice(0, 10);

/** `9f86 d081 …`: in fours, to be read out. */
const grouped = (hex: string): string => hex.toUpperCase().replace(/.{4}(?=.)/g, '$& ');

/** What programs list a CA under; the whole name where it has no plain common name. */
const commonName = (subject: string): string => /(?:^|,)CN=([^,+\\]+)(?:,|$)/.exec(subject)?.[1] ?? subject;
