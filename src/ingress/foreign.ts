/**
 * What is not SMTP (A7): other protocols that talk to the port by mistake, or because a web page makes a browser send whole SMTP
 * dialogues in the body of a request. They are told 421 and closed before anything behind their first octets is looked at.
 */

/** A request line of HTTP and its kin, the banner of SSH. No SMTP command starts like this. */
const FOREIGN_LINE = /^(?:\S+ \S.* (?:HTTP|RTSP|SIP|ICAP)\/\d|(?:GET|POST|PUT|HEAD|OPTIONS|DELETE|CONNECT|TRACE|PATCH|PRI) |SSH-\d)/i;

/** True for a command line of another protocol. */
export const isForeignLine = (line: Buffer): boolean => FOREIGN_LINE.test(line.toString('latin1'));

/**
 * True where a client cannot mean SMTP by its very first octet, long before a line is whole: 0x16 of a TLS ClientHello, 0x03 of
 * RDP. A command is a word of ASCII letters; line ends and blanks before the first are borne.
 */
export function isForeignStart(chunk: Buffer): boolean {
  const first = chunk[0];
  if (first === undefined) return false;
  const letter = (first | 0x20) >= 0x61 && (first | 0x20) <= 0x7a;
  return !letter && first !== 0x0d && first !== 0x0a && first !== 0x20 && first !== 0x09;
}
