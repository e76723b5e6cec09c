// Runs the function of Artillery's processor without Artillery: node artillery.mjs SCRIPT TARGET TOPIC SECONDS.
// Prints what it emitted as one line of JSON: sums of counters, values of histograms.

const [, , path, target, topic, seconds] = process.argv;
const { follow } = await import(path);
const seen = { counter: {}, histogram: {} };
const emit = (kind, name, value) => {
  if (kind === "counter") seen.counter[name] = (seen.counter[name] ?? 0) + value;
  else (seen[kind][name] ??= []).push(value);
};
await follow({ vars: { target, topic, stream_s: Number(seconds) } }, { emit });
console.log(JSON.stringify(seen));
