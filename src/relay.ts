/**
 * READ FIRST. The relay: its parts, and how they are joined.
 *
 *   form script ─ SMTP ─▶ ingress ─▶ path: decide ─▶ message ─▶ seal ─▶ queue ══ 250        (path.ts, in this order)
 *                                                                       queue ─▶ delivery ─▶ upstream
 *
 * Each part is built here from the configuration and knows only the interface of the next. Start builds in the order of what
 * needs what; stop unwinds in reverse, and a start that fails releases what it built.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { openSiteCertificates } from './certificates/site.ts';
import type { Config } from './config.ts';
import { serveControl } from './control.ts';
import { makeRoute } from './delivery/route.ts';
import { makeScheduler } from './delivery/scheduler.ts';
import { makeUpstream } from './delivery/upstream.ts';
import { makeIngress } from './ingress/smtp.ts';
import { makePath } from './path.ts';
import { loadRules } from './policy/rules.ts';
import { queuePaths } from './queue/paths.ts';
import { openSqliteQueue } from './queue/sqlite.ts';
import { chooseForm } from './seal/algorithms.ts';
