/**
 * What a person takes a text for (A13): compatibility forms made plain, what does not show taken out, and letters of other scripts that
 * look like ASCII ones folded to them, where they stand in a word that can be taken for an ASCII one. Linear in the text.
 */

/** Lower and upper case each, by what they look like. */
const looksLike: Readonly<Record<string, string>> = {
  // Cyrillic
  а: 'a',
  е: 'e',
  о: 'o',
  р: 'p',
  с: 'c',
  у: 'y',
  х: 'x',
  ѕ: 's',
  і: 'i',
  ї: 'i',
  ј: 'j',
  һ: 'h',
  ԁ: 'd',
  ԛ: 'q',
  ԝ: 'w',
  ѵ: 'v',
  ё: 'e',
  к: 'k',
  т: 't',
  ѡ: 'w',
  ӏ: 'l',
  А: 'A',
  В: 'B',
  Е: 'E',
  К: 'K',
  М: 'M',
  Н: 'H',
  О: 'O',
  Р: 'P',
  С: 'C',
  Т: 'T',
  У: 'Y',
  Х: 'X',
  Ѕ: 'S',
  І: 'I',
  Ї: 'I',
  Ј: 'J',
  Ԁ: 'D',
  Ԛ: 'Q',
  Ԝ: 'W',
  Ѵ: 'V',
  Ё: 'E',
  Ү: 'Y',
  Ӏ: 'I',
  Һ: 'H',
  Ԍ: 'G',
  // Greek
  α: 'a',
  ο: 'o',
  ν: 'v',
  ρ: 'p',
  τ: 't',
  υ: 'u',
  ι: 'i',
  κ: 'k',
  χ: 'x',
  η: 'n',
  ω: 'w',
  ϲ: 'c',
  ϳ: 'j',
  ϱ: 'p',
  Α: 'A',
  Β: 'B',
  Ε: 'E',
  Ζ: 'Z',
  Η: 'H',
  Ι: 'I',
  Κ: 'K',
  Μ: 'M',
  Ν: 'N',
  Ο: 'O',
  Ρ: 'P',
  Τ: 'T',
  Υ: 'Y',
  Χ: 'X',
  Ϲ: 'C',
  Ϳ: 'J',
  // Armenian, and Latin letters that are nearly ASCII
  ո: 'n',
  օ: 'o',
  հ: 'h',
  ս: 'u',
  ց: 'g',
  ք: 'p',
  զ: 'q',
  յ: 'j',
  Օ: 'O',
  Տ: 'S',
  ı: 'i',
  ɑ: 'a',
  ɡ: 'g',
  ɩ: 'i',
  // Small capitals; there is none for X
  ᴀ: 'A',
  ʙ: 'B',
  ᴄ: 'C',
  ᴅ: 'D',
  ᴇ: 'E',
  ꜰ: 'F',
  ɢ: 'G',
  ʜ: 'H',
  ɪ: 'I',
  ᴊ: 'J',
  ᴋ: 'K',
  ʟ: 'L',
  ᴍ: 'M',
  ɴ: 'N',
  ᴏ: 'O',
  ᴘ: 'P',
  ꞯ: 'Q',
  ʀ: 'R',
  ꜱ: 'S',
  ᴛ: 'T',
  ᴜ: 'U',
  ᴠ: 'V',
  ᴡ: 'W',
  ʏ: 'Y',
  ᴢ: 'Z',
  ƅ: 'b',
  ƽ: 's',
  ǀ: 'l',
  ꞁ: 'l',
  ł: 'l',
  ø: 'o',
  Ø: 'O',
  đ: 'd',
  ħ: 'h',
  ŧ: 't',
};
const WORD = /[\p{L}\p{M}]+/gu;
const ASCII_LETTER = /[A-Za-z]/;

/** No letter has more marks (UAX #15 allows thirty). Sorting more takes time quadratic in them; U+FF9E and U+FF9F become marks. */
const MARKS = /([\p{M}\uff9e\uff9f]{30})[\p{M}\uff9e\uff9f]+/gu;

/** Canonical form, so that a letter is the same however it was put together; blanks of folding are blanks. */
export const plainText = (text: string): string => text.toWellFormed().replace(MARKS, '$1').normalize('NFC').replaceAll('\t', ' ');

export function skeleton(text: string): string {
  const plain = text
    .replace(MARKS, '$1')
    .normalize('NFKC')
    .replace(/[\p{Z}\t\r\n]/gu, ' ')
    .replace(/[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}]+/gu, '')
    .replace(ADORNED, bare);
  return /[^\x00-\x7f]/.test(plain) ? plain.replace(WORD, foldWord) : plain;
}

/**
 * A letter with a mark that makes no letter of it, such as a line below it: `i̲`. An `ü` is a letter and stays, and so do the marks of scripts
 * that are written with them.
 */
const ADORNED = /[\x21-\x7e\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Armenian}]\p{M}+/gu;

/** Of one code point alone: to normalise a run of marks, here longer than thirty, takes time quadratic in it. */
const bare = (adorned: string): string =>
  String.fromCodePoint(adorned.codePointAt(0) ?? 0)
    .normalize('NFD')
    .replace(/\p{M}+/gu, '');

/** A word with letters that look like nothing in ASCII, and none of ASCII, is a word of its own script. */
function foldWord(word: string): string {
  let folded = '';
  let foreign = false;
  for (const letter of word) {
    const like = Object.hasOwn(looksLike, letter) ? looksLike[letter] : undefined;
    foreign ||= like === undefined && !ASCII_LETTER.test(letter);
    folded += like ?? letter;
  }
  return foreign && !ASCII_LETTER.test(word) ? word : folded;
}
