// Exit 0 where the relay answers: at HEALTH_URL, such as http://127.0.0.1:8025/healthz, or by its control socket.
import { connect } from 'node:net';
import process from 'node:process';

const PATIENCE_MS = 4000;
const { HEALTH_URL: url, SEALPOST_QUEUE__SQLITE: database = '/var/lib/sealpost/queue.sqlite' } = process.env;
const end = (well) => process.exit(well ? 0 : 1);
setTimeout(() => end(false), PATIENCE_MS);
if (url) {
  fetch(url).then(
    ({ ok }) => end(ok),
    () => end(false),
  );
} else {
  const socket = connect(database.replace(/[^/]*$/, 'control.sock'));
  socket.once('connect', () => end(true));
  socket.once('error', () => end(false));
}
