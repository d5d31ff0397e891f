/** A thread that writes files of certificates: each is synced, and the disk has its time while others are read and judged. */
import { parentPort } from 'node:worker_threads';
import { SealpostError } from '../../../errors.ts';
import { writeFiles, type Writing } from './write.ts';

const port = parentPort;
if (port === null) throw new SealpostError('internal', { detail: 'the thread that writes certificates is started as a worker' });
port.on('message', (writing: Writing) => port.postMessage(writeFiles(writing), []));
