/** Small folders, held whole in this process: those of anchors and intermediates. */
import { makeCertificateFolder } from '../../src/certificates/folder.ts';
import { testFolder } from './folder-suite.ts';

testFolder('a folder that is held whole', (path, log, delays) => {
  const folder = makeCertificateFolder({ path, log, delays, now: Date.now });
  return {
    path,
    find: async (key) => {
      const contents = await folder.contents();
      if (contents.kind === 'unavailable') return contents;
      const certificates = contents.certificates.filter(({ certificate }) => certificate.addresses.includes(key));
      return { kind: 'found', certificates, incomplete: contents.unread };
    },
    refresh: () => folder.refresh(),
    close: async () => folder.close(),
  };
});
