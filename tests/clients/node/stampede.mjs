// Many clients of the project's library in one process: node stampede.mjs ADDRESS TOPIC NUMBER.
// Prints `open` when all are open. Its input is the data of the last event. When all have it, or a minute has
// passed, prints what each has seen, as one line of JSON.

import { connect } from "../../../clients/js/fanwheel.min.js";

const [, , address, topic, number] = process.argv;
const clients = Array.from({ length: Number(number) }, () => {
  const seen = { events: [], gaps: [], states: [] };
  const client = connect(address, { topics: [topic] });
  client.on("*", ({ data }) => seen.events.push(data));
  client.on("fanwheel.gap", ({ gap }) => seen.gaps.push(gap.reason));
  client.on("fanwheel.state", ({ state, waitMs }) => {
    seen.states.push({ state, wait_ms: waitMs, at: performance.now() });
  });
  return { client, seen };
});
const areOpen = setInterval(() => {
  if (!clients.every(({ client }) => client.state === "open")) return;
  clearInterval(areOpen);
  console.log("open");
}, 10);
let last = "";
for await (const chunk of process.stdin) last += chunk;
for (let waited = 0; waited < 600 && !clients.every(({ seen }) => seen.events.at(-1) === last); waited++) {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
// An exit does not wait for a pipe.
process.stdout.write(JSON.stringify(clients.map(({ seen }) => seen)) + "\n", () => process.exit());
