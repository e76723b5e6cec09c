// Many clients of the project's library in one process: node stampede.mjs ADDRESS TOPIC NUMBER.
// Prints `open` when all are open. When its input ends, prints what each has seen, as one line of JSON.

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
process.stdin.resume().on("end", () => {
  // An exit does not wait for a pipe.
  process.stdout.write(JSON.stringify(clients.map(({ seen }) => seen)) + "\n", () => process.exit());
});
