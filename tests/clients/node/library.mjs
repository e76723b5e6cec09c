// The project's own client library. Heartbeats are left as they are, since a scenario counts them.

import { connect } from "../../../clients/js/fanwheel.min.js";
import { names, record, url } from "./records.mjs";

const address = new URL(url), { searchParams } = address;
const topics = searchParams.getAll("topic"), events = searchParams.getAll("event");
searchParams.delete("topic");
searchParams.delete("event");

const client = connect(address, { topics, events, clock: false });
client.on("fanwheel.state", ({ state }) => {
  if (state === "open") record("open");
  if (state === "waiting") record("error", { state: 0 });
  if (state === "closed") record("error", { state: 2 });
});
for (const name of ["message", ...names]) {
  client.on(name, ({ type, data, id }) => record("event", { event: type, data, id }));
}
