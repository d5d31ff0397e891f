/**
 * What an upstream says in its own words. It quotes the addresses of the message, and those are chosen by whoever fills in a form:
 * `ratelimit@visitor.example` must not read as a limit. Pure, and linear in the length of the reply.
 */

/** Longer than any answer that is meant to be read. */
const MAX_SPOKEN = 4096;
/** In the place of what is blanked, so that the words beside it do not grow together. */
const BLANK = ' * ';

/** Lower case. `lines` are octets as latin1; `addresses` are those of the message, as they were sent. */
export function spoken(lines: readonly string[], addresses: readonly string[] = []): string {
  let text = lines.join(' ').slice(0, MAX_SPOKEN).toLowerCase();
  // The longest first, and before the brackets: a quoted local part may hold a bracket itself.
  for (const form of addresses.flatMap(formsOf)) text = blank(text, form);
  return text
    .replace(/<[^>]*(?:>|$)/g, BLANK)
    .split(/\s+/)
    .map((word) => (word.includes('@') ? BLANK.trim() : word))
    .join(' ');
}

/** How an upstream may name an address: whole, its local part, both without quotes, its domain and what stands above that. */
function formsOf(address: string): string[] {
  const written = Buffer.from(address, 'utf8').toString('latin1').toLowerCase();
  const at = written.lastIndexOf('@');
  if (at < 0) return [];
  const [local, domain] = [written.slice(0, at), written.slice(at + 1)];
  const bare = local.replace(/^"(.*)"$/s, '$1').replace(/\\(.)/gs, '$1');
  const labels = domain.split('.');
  const above = labels.slice(0, -1).map((_, from) => labels.slice(from).join('.'));
  return [written, `${bare}@${domain}`, local, bare, domain, ...above];
}

/** Where `form` stands as a word of its own. */
function blank(text: string, form: string): string {
  if (form === '') return text;
  const parts: string[] = [];
  let start = 0;
  for (let at = text.indexOf(form); at >= 0; at = text.indexOf(form, at + form.length)) {
    const end = at + form.length;
    if (isLetter(text[at - 1]) || isLetter(text[end])) continue;
    parts.push(text.slice(start, at), BLANK);
    start = end;
  }
  return parts.join('') + text.slice(start);
}

const isLetter = (character: string | undefined): boolean => character !== undefined && /[a-z0-9]/.test(character);
