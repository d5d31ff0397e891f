/** HTML of which every variable part is text: a name is whatever its owner calls himself, and must not become a tag (A21). */

/** What stands in a page as it is. */
export interface Markup {
  readonly html: string;
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/**
 * What nobody sees and what turns the direction of a line: shown by its number. The two joiners stay, since names in Arabic and
 * Indic letters are misspelt without them.
 */
const UNSEEN = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

export const escapeText = (text: string): string =>
  text
    .replace(UNSEEN, (character) => `[U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`)
    .replace(/[&<>"']/g, (character) => entities[character] ?? '');

type Part = string | Markup | readonly Markup[];

/** A template of HTML: text is escaped, markup and lists of it are not. */
export const markup = (strings: TemplateStringsArray, ...parts: readonly Part[]): Markup => ({
  html: strings.map((fixed, index) => fixed + htmlOf(parts[index] ?? '')).join(''),
});

function htmlOf(part: Part): string {
  if (typeof part === 'string') return escapeText(part);
  return 'html' in part ? part.html : part.map(({ html }) => html).join('');
}
