// Publishes one event: node publish.mjs TOPIC TEXT. CONTROL is the server's control address.
const [topic, data] = process.argv.slice(2);
const url = `${process.env.CONTROL ?? "http://127.0.0.1:8081"}/publish?${new URLSearchParams({ topic })}`;
// A retry with the same key is published once.
const headers = { "Idempotency-Key": crypto.randomUUID() };
for (let attempt = 1; ; attempt++) {
  const asked = fetch(url, { method: "POST", body: data, headers });
  const answer = await asked.catch((error) => ({ status: 503, error }));
  if (answer.ok) break;
  if (answer.status != 503 || attempt == 5) throw answer.error ?? new Error(await answer.text());
  await new Promise((done) => setTimeout(done, 1000 * attempt));
}
