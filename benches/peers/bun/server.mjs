// Server-sent events with Bun.serve and direct streams: what is published in one turn of the loop is encoded once
// and written once for each stream; one timer serves all heartbeats.
// usage: bun server.mjs PORT        environment: HEARTBEAT_MS (0 = none)

const HEADERS = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' };
const HEARTBEAT = Buffer.from(':\n');
const topics = new Map();
const published = [];

const topicOf = (url) => {
  const at = url.indexOf('topic=');
  const name = at < 0 ? '' : url.slice(at + 6);
  let topic = topics.get(name);
  if (!topic) topics.set(name, (topic = { streams: new Set(), pending: '' }));
  return topic;
};

const send = (streams, bytes) => {
  for (const stream of streams) {
    stream.write(bytes);
    stream.flush();
  }
};

const flush = () => {
  for (const topic of published) {
    send(topic.streams, Buffer.from(topic.pending));
    topic.pending = '';
  }
  published.length = 0;
};

const publish = (topic, body) => {
  if (published.length === 0) setImmediate(flush);
  if (topic.pending === '') published.push(topic);
  topic.pending += `data: ${body}\n\n`;
};

const subscribe = (topic, signal) => {
  const body = new ReadableStream({
    type: 'direct',
    pull(stream) {
      stream.write(':ok\n\n');
      stream.flush();
      topic.streams.add(stream);
      return new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          topic.streams.delete(stream);
          resolve();
        });
      });
    },
  });
  return new Response(body, { headers: HEADERS });
};

const heartbeatMs = Number(process.env.HEARTBEAT_MS);
if (heartbeatMs > 0) {
  setInterval(() => {
    for (const { streams } of topics.values()) send(streams, HEARTBEAT);
  }, heartbeatMs);
}

Bun.serve({
  port: Number(process.argv[2]),
  hostname: '127.0.0.1',
  idleTimeout: 0,
  development: false,
  fetch(request) {
    const topic = topicOf(request.url);
    if (request.method !== 'POST') return subscribe(topic, request.signal);
    return request.text().then((body) => {
      publish(topic, body);
      return new Response(null, { status: 202 });
    });
  },
});
