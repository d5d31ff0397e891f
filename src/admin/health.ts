/**
 * The health of the relay over HTTP, for load balancers, containers and monitors. `/healthz`: this process answers. `/readyz`: it takes
 * mail, or why not. Nothing of mail is in it, no address and no path, so that whoever reaches the port learns no more than that.
 */
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import type { Logger } from 'pino';
import { type HttpServer, openHttpServer } from '../http-server.ts';
import type { Reason, Standing } from '../readiness.ts';

export interface HealthOptions {
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  readonly standing: () => Standing;
  readonly log: Logger;
}

const OK = 200;
const NOT_FOUND = 404;
const METHOD_NOT_ALLOWED = 405;
const FAILED = 500;
const UNAVAILABLE = 503;

/** Throws `listen-failed`. */
export async function serveHealth({ host, port, standing, log }: HealthOptions): Promise<HttpServer> {
  const app = new Hono();
  app.use(async (context, next) => {
    await next();
    context.header('cache-control', 'no-store');
    context.header('x-content-type-options', 'nosniff');
    context.header('content-security-policy', "default-src 'none'; frame-ancestors 'none'");
    context.header('connection', 'close');
  });
  // HEAD is answered as GET is, without its octets.
  app.get('/healthz', (context) => context.json({ alive: true }));
  app.get('/readyz', (context) => {
    const now = standing();
    return context.json(showStanding(now), now.state === 'accepting' ? OK : UNAVAILABLE);
  });
  for (const path of ['/healthz', '/readyz'])
    app.all(path, (context) => context.json({ error: 'GET and HEAD only' }, METHOD_NOT_ALLOWED, { allow: 'GET, HEAD' }));
  app.notFound((context) => context.json({ error: 'nothing is here' }, NOT_FOUND));
  app.onError((error, context) => {
    log.error({ err: error }, 'a question for the health of the relay failed');
    return context.json({ error: 'failed' }, FAILED);
  });
  const listener = getRequestListener(app.fetch, { hostname: 'localhost', overrideGlobalObjects: false });
  const server = await openHttpServer({
    host,
    port,
    answer: (request, response) => void listener(request, response),
    onError: (error) => log.error({ err: error }, 'the listener for health failed'),
  });
  log.info({ host, admin_port: server.port }, 'answering for the health of the relay');
  return server;
}

/** As `/readyz` has it; times as RFC 3339. */
function showStanding({ state, since, reasons, notes }: Standing) {
  const shown = ({ code, text, since: at }: Reason) => ({ code, text, since: new Date(at).toISOString() });
  return { state, since: new Date(since).toISOString(), reasons: reasons.map(shown), notes: notes.map(shown) };
}
