/**
 * Patterns over text: a glob (`*` stands for any run of characters, and it matches the whole text, without case), or a regular
 * expression between slashes, found anywhere in the text. Both take time linear in the text, whatever they are (A32): expressions run
 * in an engine without backtracking, which therefore knows neither look-around nor back-references. Linear is still the product of text
 * and expression, and a header may be long: so a text is too long for an expression at some length, and unclear then (condition.ts).
 */
import { RE2JS, RE2JSException } from 're2js';
import { compileGlob } from '../message/pattern.ts';
import type { TextPattern } from './condition.ts';

export type TextPatternVerdict =
  /** `program`: of an expression, the steps of the engine for one character. */
  | { readonly kind: 'pattern'; readonly pattern: TextPattern; readonly program?: number }
  | { readonly kind: 'fault'; readonly fault: string; readonly mend: string };

const fault = (text: string, mend: string): TextPatternVerdict & { readonly kind: 'fault' } => ({ kind: 'fault', fault: text, mend });

const MAX_PATTERN = 500;
/** Steps of the engine for one character; `(a{100}){9}` is short to write and long to run. */
const MAX_PROGRAM = 2000;
/** Steps for one field, some 50 ns each: a tenth of a second in which nothing else goes on. */
const MAX_STEPS = 2_000_000;
/** A Subject is never too long for any expression: it has room for what a line may hold (RFC 5322 §2.1.1). */
const LEAST_TEXT = 1000;
const MOST_TEXT = 16 * 1024;
const EXPRESSION = /^\/(?<body>.*)\/(?<flags>[A-Za-z]*)$/s;

export const isExpression = (source: string): boolean => EXPRESSION.test(source);

/** `/…/` or `/…/i`. */
export function parseExpression(source: string): TextPatternVerdict {
  const { body = '', flags = '' } = EXPRESSION.exec(source)?.groups ?? {};
  if (body === '') return fault('holds no expression between its slashes', 'for example /intake/i');
  if (flags !== '' && flags !== 'i') return fault(`knows no flag ${flags}`, 'i, for without case, or none');
  if (source.length > MAX_PATTERN) return fault(`is longer than ${MAX_PATTERN} characters`, 'several shorter ones in a list');
  try {
    const expression = RE2JS.compile(body.normalize('NFC'), flags === 'i' ? RE2JS.CASE_INSENSITIVE : 0);
    const program = expression.programSize();
    if (program > MAX_PROGRAM) return fault('repeats too much', 'smaller counts in its { }, or a * or +');
    return { kind: 'pattern', pattern: { source, matches: (text) => expression.test(text) }, program };
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    const why = error.message.replace(/^error parsing regexp: /, '').replaceAll('`', '');
    return fault(`is no expression in linear time: ${why}`, 'RE2 syntax, which has no look-around and no \\1');
  }
}

/** Null where a glob is one text without `*`. */
interface Glob {
  readonly exact: string | null;
  readonly matches: (folded: string) => boolean;
}

function parseGlob(source: string): Glob | (TextPatternVerdict & { readonly kind: 'fault' }) {
  if (source.trim() === '') return fault('is empty', 'text with * in it, such as "*intake*"');
  if (source.length > MAX_PATTERN) return fault(`is longer than ${MAX_PATTERN} characters`, 'several shorter ones in a list');
  if (!source.isWellFormed() || /\p{Cc}/u.test(source)) return fault('holds a control character', 'one line of plain text');
  const folded = foldCase(source);
  return { exact: folded.includes('*') ? null : folded, matches: compileGlob(folded) };
}

const foldCase = (text: string): string => text.normalize('NFC').toLowerCase();

/** Several patterns of which one must match. `said`: the source where their list has a name of its own. */
export function anyText(sources: readonly string[], said?: string): TextPatternVerdict {
  const exact = new Set<string>();
  const globs: Glob[] = [];
  const expressions: TextPattern[] = [];
  let program = 0;
  for (const source of sources) {
    if (source.startsWith('/')) {
      if (!isExpression(source)) return fault(`${quote(source)} has no second slash`, '/…/ or /…/i; as plain text write "*/…"');
      const verdict = parseExpression(source);
      if (verdict.kind === 'fault') return fault(`${quote(source)} ${verdict.fault}`, verdict.mend);
      expressions.push(verdict.pattern);
      program += verdict.program ?? 0;
      continue;
    }
    const glob = parseGlob(source);
    if ('kind' in glob) return fault(`${quote(source)} ${glob.fault}`, glob.mend);
    if (glob.exact === null) globs.push(glob);
    else exact.add(glob.exact);
  }
  const matches = (text: string): boolean => {
    const folded = exact.size + globs.length > 0 ? text.toLowerCase() : '';
    if (exact.has(folded) || globs.some((glob) => glob.matches(folded))) return true;
    return expressions.some((expression) => expression.matches(text));
  };
  const longest = program === 0 ? {} : { longest: Math.min(MOST_TEXT, Math.max(LEAST_TEXT, Math.floor(MAX_STEPS / program))) };
  return { kind: 'pattern', pattern: { source: said ?? sources.join(', '), nothing: sources.length === 0, ...longest, matches } };
}

const quote = (source: string): string => `"${source.slice(0, 64)}"`;
