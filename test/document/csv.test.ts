import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type CsvEntry, decodeCsv, readCsv } from '../../src/document/csv.ts';

const rowsOf = (text: string): readonly (readonly string[])[] =>
  [...readCsv(text)].map((entry) => (entry.kind === 'row' ? entry.fields : assert.fail(`line ${entry.line}: ${entry.fault}`)));
const faultsOf = (text: string): readonly string[] =>
  [...readCsv(text)].flatMap((entry) => (entry.kind === 'fault' ? [`${entry.line}: ${entry.fault}`] : []));

const quoted = (field: string): string => `"${field.replaceAll('"', '""')}"`;
/** Bare where nothing in it wants quotes. */
const written = (field: string, separator: string): string =>
  field === '' || [separator, '"', '\r', '\n'].some((one) => field.includes(one)) ? quoted(field) : field;

const field = fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => text.replaceAll(/[\r\n]/g, ''));
const special = fc.constantFrom('a,b', 'a;b', 'say "no"', '"', '', '=1+1', '+49', '-1', '@x', 'Ödön');
const table = fc
  .integer({ min: 2, max: 6 })
  .chain((width) =>
    fc.tuple(
      fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { minLength: width, maxLength: width }),
      fc.array(fc.array(fc.oneof(field, special), { minLength: width, maxLength: width }), { maxLength: 8 }),
    ),
  )
  .map(([header, rows]) => [header, ...rows]);

test('what a spreadsheet writes is read as it was, whatever its separator and line ends', () => {
  fc.assert(
    fc.property(table, fc.constantFrom(',', ';', '\t'), fc.constantFrom('\n', '\r\n'), fc.boolean(), (rows, separator, lineEnd, ended) => {
      const lines = rows.map((row) => row.map((one) => written(one, separator)).join(separator));
      const text = lines.join(lineEnd) + (ended ? lineEnd : '');
      assert.deepEqual(rowsOf(text), rows);
    }),
  );
});

test('a row that is no row costs itself alone', () => {
  const bad = fc.constantFrom(
    'x,"never closed',
    'x,"closed"too early',
    'x,a " quote',
    '"',
    `${'y'.repeat(2000)},`,
    `x,"${'y'.repeat(2000)}`,
  );
  const good = fc.stringMatching(/^[a-z]{1,8}@[a-z]{1,8}$/).map((address) => `${address},Anna`);
  fc.assert(
    fc.property(fc.array(fc.oneof(bad, good)), (lines) => {
      const entries = [...readCsv(['address,name', ...lines].join('\r\n'))];
      const kept = entries.flatMap((entry) => (entry.kind === 'row' ? [entry.fields.join(',')] : []));
      const wanted = lines.filter((line) => line.includes('@'));
      assert.deepEqual(kept, ['address,name', ...wanted]);
      assert.deepEqual(
        entries.map(({ line }) => line),
        entries.map((_, index) => index + 1),
      );
    }),
  );
});

test('any text ends in rows and faults, each with the line that it begins in', () => {
  const hostile = fc.array(fc.constantFrom('"', ',', ';', '\n', '\r', '\r\n', 'a', '\0', '\u202e', 'sep=', 'é'), { maxLength: 200 });
  fc.assert(
    fc.property(hostile, (parts) => {
      const text = parts.join('');
      const lines = text.split(/\r\n|\r|\n/).length;
      let last = 0;
      for (const { line } of readCsv(text)) {
        assert.ok(line > last && line <= lines);
        last = line;
      }
    }),
    { numRuns: 1000 },
  );
});

test('a quote that is not closed costs no row behind it, though a later quote would close it', () => {
  const entries: CsvEntry[] = [...readCsv('a,b\n\n"open\nlast,y\nnext,"z"')];
  assert.deepEqual(entries, [
    { kind: 'row', line: 1, fields: ['a', 'b'] },
    { kind: 'fault', line: 3, fault: 'a quote is not closed in its line' },
    { kind: 'row', line: 4, fields: ['last', 'y'] },
    { kind: 'row', line: 5, fields: ['next', 'z'] },
  ]);
});

test("Excel's own line says the separator", () => {
  assert.deepEqual(rowsOf('sep=;\r\na,b;c\r\n'), [['a,b', 'c']]);
  assert.deepEqual(faultsOf(`a,b\n${'x,'.repeat(100)}\n`), ['2: more than 64 fields']);
});

test('a table of ten megabytes of open quotes is read in no time', { timeout: 20_000 }, () => {
  assert.equal(faultsOf('a,b\n' + 'x,"y\n'.repeat(500_000)).length > 0, true);
});

test('text that is not UTF-8 is said so, with its line', () => {
  assert.deepEqual(decodeCsv(Buffer.from('\ufeffaddress\n')), { kind: 'text', text: 'address\n' });
  const latin = decodeCsv(Buffer.from('address,name\nanna@clinic.example,Bär\nben@clinic.example,Ö\n', 'latin1'));
  assert.match(latin.kind === 'fault' ? latin.fault : '', /^line 2 is not UTF-8; save it as "CSV UTF-8"$/);
  for (const octets of [Buffer.from('\ufeffa', 'utf16le'), Buffer.from('\ufeffa', 'utf16le').swap16()])
    assert.match(decodeCsv(octets).kind === 'fault' ? 'fault' : '', /fault/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (octets) => {
      decodeCsv(Buffer.from(octets));
    }),
  );
});
