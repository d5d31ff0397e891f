import path from 'node:path';

/** The folder of certificates that the running relay writes itself: beside its queue, where alone it may write. Absolute as `database` is. */
export const ownFolderBeside = (database: string): string => path.join(path.dirname(database), 'certs');
