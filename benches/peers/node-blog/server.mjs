// Server-sent events with Node's http as articles on the subject show it: a Set of responses and a timer each.
// usage: node server.mjs PORT        environment: HEARTBEAT_MS (0 = none)
import http from 'node:http';

const heartbeatMs = Number(process.env.HEARTBEAT_MS);
const topics = new Map();

const clientsOf = (topic) => {
  if (!topics.has(topic)) topics.set(topic, new Set());
  return topics.get(topic);
};

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const clients = clientsOf(url.searchParams.get('topic'));

  if (request.method === 'POST') {
    let body = '';
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      for (const client of clients) client.write(`data: ${body}\n\n`);
      response.writeHead(202, { 'Content-Length': 0 });
      response.end();
    });
    return;
  }

  response.writeHead(200, {
    'Content-Type': 'text/event-stream',
    'Cache-Control': 'no-cache',
    Connection: 'keep-alive',
  });
  response.write(':ok\n\n');
  clients.add(response);
  const heartbeat = heartbeatMs > 0 && setInterval(() => response.write(': heartbeat\n\n'), heartbeatMs);
  request.on('close', () => {
    clearInterval(heartbeat);
    clients.delete(response);
  });
});

// A publisher may pause for longer than the 5 s after which Node closes its connection.
server.keepAliveTimeout = 600_000;
server.listen(Number(process.argv[2]), '127.0.0.1');
