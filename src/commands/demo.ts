/**
 * `sealpost demo`: the whole path on one machine with no set-up. A temporary site with a CA and three readers, a relay, an
 * upstream that keeps what it gets, and one form mail from its script to what each reader reads.
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { text as readAll } from 'node:stream/consumers';
import { Command } from 'commander';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { SMTPServer } from 'smtp-server';
import { type Authority, certificatePem, issueCertificate, type Issued, type KeyChoice } from '../certificates/issue.ts';
import { loadConfig } from '../config.ts';
import { makeLog } from '../log.ts';
import { parseMailbox } from '../message/envelope.ts';
import { startRelay } from '../relay.ts';
import { openMessage } from '../seal/open.ts';
import { formMail, secrets } from './demo-form.ts';
import { readEntity, showEntity } from './entity.ts';
import type { BuildCommand, Terminal } from './terminal.ts';
