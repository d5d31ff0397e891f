/** Folders of recipients, each with a thread of its own. */
import { openRecipientFolder } from '../../src/certificates/files.ts';
import { testFolder } from './folder-suite.ts';
import { temporaryFolder } from './openssl.ts';

const cache = temporaryFolder();
testFolder('a folder of recipients', (path, log, delays) =>
  openRecipientFolder({ path, log, delays, cache: { folder: cache, writable: true } }),
);
