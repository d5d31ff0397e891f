/** A delivery report as a stranger reads it: Python's email package. */
import { missingPrograms, succeed } from './programs.ts';

export interface Report {
  readonly type: string;
  readonly reportType: string;
  readonly autoSubmitted: string | null;
  /** Media types of the parts, in order. */
  readonly parts: readonly string[];
  readonly text: string;
  /** Fields of the message, and of its only recipient; names in lower case. */
  readonly message: Readonly<Record<string, string>>;
  readonly recipient: Readonly<Record<string, string>>;
  readonly original: Readonly<Record<string, string>>;
  /** What the parser complains of. */
  readonly defects: readonly string[];
}

export const missingReportReader = (): string | undefined => missingPrograms({ python3: 'python3' });

const SCRIPT = `
import email, email.policy, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, status, headers = message.get_payload()
blocks = status.get_payload()
assert len(blocks) == 2, blocks
fields = lambda of: {name.lower(): str(value) for name, value in of.items()}
original = email.message_from_string(headers.get_payload(), policy=email.policy.default)
print(json.dumps({
  'type': message.get_content_type(),
  'reportType': message['Content-Type'].params.get('report-type'),
  'autoSubmitted': message['Auto-Submitted'],
  'parts': [part.get_content_type() for part in (text, status, headers)],
  'text': text.get_content(),
  'message': fields(blocks[0]),
  'recipient': fields(blocks[1]),
  'original': fields(original),
  'defects': [repr(one) for part in message.walk() for one in part.defects],
}))
`;

/** Throws where it is no report of one recipient. */
export async function readReport(octets: Buffer): Promise<Report> {
  const answer: Report = JSON.parse((await succeed('python3', ['-c', SCRIPT], { input: octets })).toString());
  return answer;
}
