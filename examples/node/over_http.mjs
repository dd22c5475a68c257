// Usage events from Node to the gateway, with nothing installed: node over_http.mjs GATEWAY CUSTOMER COUNT; the key is in TAXIMETER_API_KEY.
//
// 202 says that Kafka has all events. After no answer, 429 or 5xx the same request is sent again: its ids are the same, so nothing counts twice.
import { setTimeout as sleep } from "node:timers/promises";
import { event } from "./event.mjs";

const ATTEMPTS = 8;
const ANSWER_WITHIN_MS = 15_000;

async function send(gateway, key, events) {
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const body = JSON.stringify(events);
  for (let attempt = 1, wait = 200; ; attempt++, wait *= 2) {
    let problem;
    try {
      const answer = await fetch(`${gateway}/v1/events`, { method: "POST", headers, body, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
      if (answer.status === 202) return;
      problem = `${answer.status}: ${await answer.text()}`;
      // 207 and 400 name each event that was rejected
      if (answer.status < 500 && answer.status !== 429) attempt = ATTEMPTS;
    } catch (error) {
      problem = String(error.cause ?? error);
    }
    if (attempt >= ATTEMPTS) throw new Error(problem);
    await sleep(wait);
  }
}

const [gateway, customer, count] = process.argv.slice(2);
const events = Array.from({ length: Number(count) }, (_, number) => event("node-http", customer, number));
await send(gateway, process.env.TAXIMETER_API_KEY, events);
console.log(`sent ${events.length}`);
