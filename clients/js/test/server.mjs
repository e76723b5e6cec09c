// A real server for one test, on ports that the kernel chose.

import { spawn } from "node:child_process";
import { createServer } from "node:net";

/** A port that was free a moment ago. */
const freePort = () => new Promise((resolve) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

/** Starts one, and ends it with the test. Somebody may take a port first, so a start is tried again. */
export async function startServer(test, ...settings) {
  for (let attempt = 0; attempt < 5; attempt++) {
    const [listen, control] = [await freePort(), await freePort()];
    const child = spawn(process.env.SERVER_BIN, ["serve", "--listen", `127.0.0.1:${listen}`,
      "--control", `127.0.0.1:${control}`, "--workers", "1", ...settings], { stdio: "ignore" });
    test.after(() => child.kill("SIGKILL"));
    const address = `http://127.0.0.1:${listen}`;
    while (child.exitCode === null) {
      const answer = await fetch(`${address}/healthz`).catch(() => {});
      if (answer?.ok) return { address, child, control, publish: publisher(control) };
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error("the server does not start");
}

const publisher = (control) => async (topic, event, body = "text") => {
  const query = new URLSearchParams({ topic, ...(event && { event }) });
  const answer = await fetch(`http://127.0.0.1:${control}/publish?${query}`, { method: "POST", body });
  return (await answer.json()).id;
};
