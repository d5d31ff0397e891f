/** The form mail of the demo: what a PHP script of a clinic's web site would send, a PDF and a picture attached. */
import { deflateSync, crc32 } from 'node:zlib';

/** Words that stand in the clear mail and may stand nowhere behind the relay. */
export const secrets = [
  'Kopfschmerzen seit dem Unfall',
  'Grüße, Jürgen',
  'intake-4711.pdf',
  'Neue Anmeldung: Jürgen Müller',
  'X-Patient-Number: 4711',
] as const;

const BOUNDARY = 'form-8c1f';

/** The mail with its header, CRLF line ends. Bcc recipients stand in the envelope, and here in the field a careless script leaves. */
export function formMail(to: string, cc: string, bcc: string): string {
  return [
    'From: Web form <forms@clinic.example>',
    `To: Dr Anna <${to}>`,
    `Cc: ${cc}`,
    `Bcc: ${bcc}`,
    'Subject: Neue Anmeldung: Jürgen Müller',
    'X-Patient-Number: 4711',
    'MIME-Version: 1.0',
    `Content-Type: multipart/mixed; boundary="${BOUNDARY}"`,
    '',
    `--${BOUNDARY}`,
    `Content-Type: multipart/alternative; boundary="${BOUNDARY}-text"`,
    '',
    ...part(`${BOUNDARY}-text`, 'text/plain; charset=utf-8', '8bit', [
      'Name: Jürgen Müller',
      'Kopfschmerzen seit dem Unfall, bitte um Rückruf.',
      '',
      'Grüße, Jürgen',
    ]),
    ...part(`${BOUNDARY}-text`, 'text/html; charset=utf-8', '8bit', [
      '<h1>Anmeldung</h1><p>Kopfschmerzen seit dem Unfall, bitte um <b>Rückruf</b>.</p>',
    ]),
    `--${BOUNDARY}-text--`,
    '',
    ...part(BOUNDARY, 'application/pdf; name="intake-4711.pdf"', 'base64', base64Lines(pdf('Intake form 4711'))),
    ...part(BOUNDARY, 'image/png; name="signature.png"', 'base64', base64Lines(png(64, 24))),
    `--${BOUNDARY}--`,
    '',
  ].join('\r\n');
}

function part(boundary: string, type: string, encoding: string, lines: readonly string[]): string[] {
  const attached = type.includes('name=') ? [`Content-Disposition: attachment; file${type.slice(type.indexOf('name='))}`] : [];
  return [`--${boundary}`, `Content-Type: ${type}`, `Content-Transfer-Encoding: ${encoding}`, ...attached, '', ...lines];
}

const base64Lines = (bytes: Buffer): string[] => bytes.toString('base64').match(/.{1,76}/g) ?? [];

/** One page with one line of text, as small as readers accept. */
function pdf(text: string): Buffer {
  const stream = `BT /F1 18 Tf 20 60 Td (${text}) Tj ET`;
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 100] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`,
    '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ];
  let out = '%PDF-1.4\n';
  const offsets = objects.map((object, index) => {
    const offset = out.length;
    out += `${index + 1} 0 obj\n${object}\nendobj\n`;
    return `${String(offset).padStart(10, '0')} 00000 n \n`;
  });
  const size = objects.length + 1;
  const start = out.length;
  return Buffer.from(
    `${out}xref\n0 ${size}\n0000000000 65535 f \n${offsets.join('')}trailer\n<< /Size ${size} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`,
  );
}

/** A grey-scale picture with a wave, as a signature field would give. */
function png(width: number, height: number): Buffer {
  const rows: number[] = [];
  for (let y = 0; y < height; y++) {
    rows.push(0); // filter type: none
    for (let x = 0; x < width; x++) rows.push(Math.abs(y - height / 2 - Math.sin(x / 6) * 8) < 1.2 ? 0 : 255);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 0, 0, 0, 0], 8); // 8 bits, grey
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.from(rows))), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type: string, content: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type), content]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(content.length, 0);
  frame.writeUInt32BE(crc32(typed), 4);
  return Buffer.concat([frame.subarray(0, 4), typed, frame.subarray(4)]);
}
