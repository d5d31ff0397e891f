/** `npm run docs`: the pages that are made from the source. test/docs.test.ts fails where one is stale. */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { renderReference } from '../src/config/reference.ts';
import { errorTable } from '../src/errors.ts';

/** docs/errors.md: every row of the table, in its order. */
function renderErrors(): string {
  const cell = (text: string): string => text.replaceAll('|', '\\|');
  const rows = Object.entries(errorTable).map(
    ([code, { code: reply, status, text, hint }]) => `| \`${code}\` | ${reply} ${status} | ${cell(text)} | ${cell(hint)} |`,
  );
  return `# Errors

<!-- Generated from src/errors by \`npm run docs\`: edit the tables, not this page. -->

Every failure has one of these codes; logs and \`--json\` carry it. A code never changes its meaning. What an SMTP client is told
is the reply with the text, and behind a colon what exactly was wrong. 4yz says try again, 5yz is for good: only a fact that
stays a fact is answered 5yz, and what sealpost does not know is \`internal\`, never a bounce.

| code | reply | text | what to do |
|---|---|---|---|
${rows.join('\n')}
`;
}

/** Every generated page by its name under docs/. */
export const pages: Readonly<Record<string, () => string>> = {
  'configuration.md': renderReference,
  'errors.md': renderErrors,
};

if (import.meta.main) {
  for (const [name, render] of Object.entries(pages)) await writeFile(fileURLToPath(new URL(name, import.meta.url)), render());
}
