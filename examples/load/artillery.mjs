// The stream of one of Artillery's users, by the client library: it comes back and goes on as a page does.

import { connect } from "../../clients/js/fanwheel.min.js";

export async function follow({ vars }, events) {
  const client = connect(`${vars.target}/events`, { topics: [vars.topic] });
  const count = (name, number = 1) => events.emit("counter", `fanwheel.${name}`, number);
  const record = (name, value) => events.emit("histogram", `fanwheel.${name}`, value);
  client.on("*", ({ replayed }) => {
    count("events");
    if (!replayed) record("delay_ms", client.metrics().delayMs.last);
  });
  client.on("fanwheel.gap", () => count("gaps"));
  client.on("fanwheel.state", ({ state, cause, status }) => {
    if (state === "open") record("connect_ms", client.metrics().connectMs);
    // Ends that this script did not ask for.
    if (cause) count(`ends.${status ?? cause}`);
  });
  await new Promise((resolve) => setTimeout(resolve, vars.stream_s * 1000));
  count("duplicates", client.metrics().duplicates);
  client.close();
}
