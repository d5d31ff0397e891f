/** A real browser that looks at a file: Chromium, headless, with a profile of its own and every connection led to a proxy that counts. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { missingPrograms, succeed } from './programs.ts';

export const noBrowser = missingPrograms({ chromium: 'chromium' });

export interface Browser {
  /** The document as it stands after it was loaded, as HTML. */
  dom(path: string): Promise<string>;
  /** Printed on paper. */
  pdf(path: string): Promise<Buffer>;
  /** What was asked of the network since it was last asked, the browser's own errands among it. */
  requests(): readonly string[];
  close(): Promise<void>;
}

const QUIET = ['quic', 'background-networking', 'component-update', 'sync', 'gpu', 'default-apps', 'extensions', 'domain-reliability'];
const TIMEOUT_MS = 120_000;

export async function openBrowser(): Promise<Browser> {
  const folder = await mkdtemp(join(tmpdir(), 'browser-'));
  let asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(404).end();
  });
  proxy.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    socket.destroy();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy listens on no port');
  const options = [
    '--headless',
    // Tests run as root, for whom Chromium has no sandbox.
    '--no-sandbox',
    '--no-first-run',
    ...QUIET.map((what) => `--disable-${what}`),
    `--user-data-dir=${join(folder, 'profile')}`,
    `--proxy-server=http://127.0.0.1:${address.port}`,
    '--proxy-bypass-list=<-loopback>',
  ];
  const look = (path: string, ...more: readonly string[]): Promise<Buffer> =>
    succeed('chromium', [...options, ...more, pathToFileURL(path).href], { timeout: TIMEOUT_MS, env: { HOME: folder } });
  return {
    dom: async (path) => (await look(path, '--dump-dom')).toString('utf8'),
    pdf: async (path) => {
      const printed = join(folder, 'page.pdf');
      await look(path, '--no-pdf-header-footer', `--print-to-pdf=${printed}`);
      return readFile(printed);
    },
    requests: () => {
      const seen = asked;
      asked = [];
      return seen;
    },
    close: async () => {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
