// Asks the server for a page of JSON.

const ANSWER_TIMEOUT_MS = 10_000;

/** Returns the object at a path; fails with a reason for people when there is none in time. */
export async function fetchJson(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return answer.json();
}
