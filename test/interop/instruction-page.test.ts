/** The page of a reader, in the browser that a reader opens it with. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { instructionPage, type PageContent } from '../../src/certificates/authority/page.ts';
import { certificateNamed } from '../certificates/fixtures.ts';
import { type Browser, noBrowser, openBrowser } from './browser.ts';

const NAME = '<img src="http://fetched.example/a.png" onerror="document.title=\'run\'"><script>document.title="run"</script>\u202e';
const content: PageContent = {
  address: 'anna@clinic.example',
  name: NAME,
  file: 'anna@clinic.example.p12',
  certificate: certificateNamed('anna'),
  root: certificateNamed('In-house root of relay.clinic.example'),
  operator: 'postmaster@clinic.example',
  renews: certificateNamed('old'),
};

describe('the page of a reader in Chromium', { skip: noBrowser ?? false }, () => {
  let folder: string;
  let browser: Browser;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'page-'));
    browser = await openBrowser();
  });
  after(async () => {
    await browser.close();
    await rm(folder, { recursive: true, force: true });
  });
  const written = async (name: string, html: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, html);
    return path;
  };
  /** The browser's own errands, whatever they are, are not of the page. */
  const ofPage = (): readonly string[] => browser.requests().filter((request) => request.includes('fetched.example'));

  test('the browser would fetch and run: what is to be shown is seen at all', async () => {
    const dom = await browser.dom(await written('open.html', `<!DOCTYPE html><title>still</title>${NAME}`));
    assert.match(dom, /<title>run<\/title>/);
    assert.deepEqual(ofPage(), ['GET http://fetched.example/a.png']);
  });

  test('A21: a name of tags is text; nothing is fetched and nothing runs', async () => {
    const dom = await browser.dom(await written('page.html', instructionPage(content)));
    assert.match(dom, /<title>Your certificate for sealed mail: anna@clinic\.example<\/title>/);
    assert.match(dom, /<bdi>&lt;img src="http:\/\/fetched\.example\/a\.png" onerror=.*\[U\+202E\]<\/bdi>/);
    assert.deepEqual(ofPage(), []);
  });

  test('A21: where a tag came in all the same, the policy of the page holds', async () => {
    const dom = await browser.dom(await written('broken.html', instructionPage(content).replace('<h1>', `${NAME}<h1>`)));
    assert.match(dom, /<script>document/);
    assert.doesNotMatch(dom, /<title>run/);
    assert.deepEqual(ofPage(), []);
  });

  test('it prints on two sheets of A4, by its own style: the policy names that by the right hash', async () => {
    const html = instructionPage({ ...content, name: 'Anna Berger' });
    const print = async (name: string, page: string): Promise<string> => (await browser.pdf(await written(name, page))).toString('latin1');
    const sheets = (pdf: string): number => pdf.match(/\/Type \/Page\b/g)?.length ?? 0;
    const pdf = await print('print.html', html);
    assert.equal(sheets(pdf), 2);
    assert.match(pdf, /\/MediaBox \[0 0 59[45](?:\.\d+)? 84[12](?:\.\d+)?\]/);
    const unstyled = await print('unstyled.html', html.replace('color-scheme: light dark;', ''));
    assert.ok(sheets(unstyled) > 2, 'a style of another hash counts too');
  });
});
