// Server-sent events with Node's http as someone writes it who has profiled: an event is encoded and framed once,
// the bytes go straight to the sockets, what is published in one turn of the loop leaves in one write, and one
// timer serves all heartbeats.
// usage: node server.mjs PORT        environment: HEARTBEAT_MS (0 = none)
import http from 'node:http';

const UNSENT_BYTES_MAX = 4 << 20;
const HEARTBEAT = Buffer.from('2\r\n:\n\r\n');
const STREAM = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'Transfer-Encoding': 'chunked' };
const ACCEPTED = { 'Content-Length': 0 };

const topics = new Map();
const published = [];

const topicOf = (url) => {
  const at = url.indexOf('topic=');
  const name = at < 0 ? '' : url.slice(at + 6);
  let topic = topics.get(name);
  if (!topic) topics.set(name, (topic = { sockets: new Set(), pending: [] }));
  return topic;
};

const send = (sockets, bytes) => {
  for (const socket of sockets) {
    if (socket.writableLength > UNSENT_BYTES_MAX) socket.destroy();
    else socket.write(bytes);
  }
};

const flush = () => {
  for (const topic of published) {
    send(topic.sockets, topic.pending.length === 1 ? topic.pending[0] : Buffer.concat(topic.pending));
    topic.pending = [];
  }
  published.length = 0;
};

const publish = (topic, body) => {
  const length = Buffer.byteLength(body) + 8;
  if (published.length === 0) setImmediate(flush);
  if (topic.pending.length === 0) published.push(topic);
  topic.pending.push(Buffer.from(`${length.toString(16)}\r\ndata: ${body}\n\n\r\n`));
};

const server = http.createServer({ noDelay: true }, (request, response) => {
  const topic = topicOf(request.url);

  if (request.method === 'POST') {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      publish(topic, body);
      response.writeHead(202, ACCEPTED);
      response.end();
    });
    return;
  }

  const { socket } = request;
  response.writeHead(200, STREAM);
  response.write(':ok\n\n');
  topic.sockets.add(socket);
  socket.once('close', () => topic.sockets.delete(socket));
});

const heartbeatMs = Number(process.env.HEARTBEAT_MS);
if (heartbeatMs > 0) {
  setInterval(() => {
    for (const { sockets } of topics.values()) send(sockets, HEARTBEAT);
  }, heartbeatMs);
}

// A publisher may pause for longer than the 5 s after which Node closes its connection.
server.keepAliveTimeout = 600_000;
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 65535 });
