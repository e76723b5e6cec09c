// A page that a server renders: its state, and the moment of that state, where the page's stream begins. Nothing
// falls between the two. Run it with `node rendered.mjs [PORT] [PUBLIC ADDRESS] [CONTROL ADDRESS]`.

import { createServer } from "node:http";

const [port = "3000", server = "http://127.0.0.1:8080", control = "http://127.0.0.1:8081"] = process.argv.slice(2);
let votes = 0;

const page = (moment) => `<!doctype html><meta charset="utf-8"><title>Votes</title>
<h1><output>${votes}</output> votes</h1>
<form method="post" target="answer"><button>Vote</button></form><iframe name="answer" hidden></iframe>
<script type="module">
  import { connect } from "${server}/client.js";
  const output = document.querySelector("output");
  const client = connect("${server}/events", { topics: ["votes"], after: "${moment}-0" });
  client.on("message", ({ data }) => (output.value = data));
  client.on("fanwheel.gap", () => location.reload());
</script>`;

createServer(async (request, response) => {
  if (request.method == "POST") {
    votes++;
    await fetch(`${control}/publish?topic=votes`, { method: "POST", body: String(votes) });
    return response.writeHead(204).end();
  }
  // The moment first, then the state: an event between them comes again, which is harmless, and none is missed.
  const moment = Date.now();
  response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end(page(moment));
}).listen(Number(port), "127.0.0.1", function () {
  console.log(`http://127.0.0.1:${this.address().port}/`);
});
