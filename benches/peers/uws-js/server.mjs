// Server-sent events with µWebSockets.js: what is published in one turn of the loop is encoded once and leaves in
// one corked write for each response (inside a handler the cork buffer belongs to the publisher); one timer serves
// all heartbeats.
// usage: node server.mjs PORT FOLDER        (where npm installed); environment: HEARTBEAT_MS (0 = none)
import { createRequire } from 'node:module';

const uWS = createRequire(`${process.argv[3]}/`)('@trufflesuite/uws-js-unofficial');

const HEARTBEAT = Buffer.from(':\n');
const topics = new Map();
const published = [];

const topicOf = (request) => {
  const name = request.getQuery('topic');
  let topic = topics.get(name);
  if (!topic) topics.set(name, (topic = { responses: new Set(), pending: '' }));
  return topic;
};

const send = (responses, bytes) => {
  for (const response of responses) response.cork(() => response.write(bytes));
};

const flush = () => {
  for (const topic of published) {
    send(topic.responses, Buffer.from(topic.pending));
    topic.pending = '';
  }
  published.length = 0;
};

const publish = (topic, body) => {
  if (published.length === 0) setImmediate(flush);
  if (topic.pending === '') published.push(topic);
  topic.pending += `data: ${body}\n\n`;
};

const app = uWS.App();

app.get('/events', (response, request) => {
  const { responses } = topicOf(request);
  responses.add(response);
  response.onAborted(() => responses.delete(response));
  // Without a handler, a stream that was once behind would be closed 10 s after it has caught up. A write is also
  // what empties the library's buffer.
  response.onWritable(() => response.write(HEARTBEAT));
  response.writeHeader('Content-Type', 'text/event-stream').writeHeader('Cache-Control', 'no-cache');
  response.write(':ok\n\n');
});

app.post('/publish', (response, request) => {
  const topic = topicOf(request);
  let held;
  response.onAborted(() => {});
  response.onData((part, last) => {
    // The part is lent: it is gone after this call.
    if (!last || held) held = Buffer.concat(held ? [held, Buffer.from(part)] : [Buffer.from(part)]);
    if (!last) return;
    publish(topic, (held ?? Buffer.from(part)).toString());
    response.writeStatus('202 Accepted').end();
  });
});

const heartbeatMs = Number(process.env.HEARTBEAT_MS);
if (heartbeatMs > 0) {
  setInterval(() => {
    for (const { responses } of topics.values()) send(responses, HEARTBEAT);
  }, heartbeatMs);
}

app.listen('127.0.0.1', Number(process.argv[2]), (socket) => {
  if (!socket) process.exit(1);
});
