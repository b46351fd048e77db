// What one writes in an afternoon: sign and post webhooks with Node's fetch, so many at a time, and keep nothing.
// node fetch_loop.mjs BASE ENDPOINTS COUNT CONCURRENCY
import { createHmac } from "node:crypto";

const [base, ...numbers] = process.argv.slice(2);
const [endpoints, count, concurrency] = numbers.map(Number);
const key = Buffer.from("a key that only the bench knows!");
let next = 0;

async function work() {
  while (next < count) {
    const n = next++;
    const now = Date.now() / 1000;
    const data = { type: "bench.tick", at: now, number: n, owner: `o${n % endpoints}` };
    const body = JSON.stringify({ id: `evt_${n}`, type: "bench.tick", timestamp: now, data });
    const at = String(Math.floor(now));
    const signature = createHmac("sha256", key).update(`evt_${n}.${at}.${body}`).digest("base64");
    const answer = await fetch(base.replace("HOST", `127.0.1.${1 + (n % endpoints)}`), {
      method: "POST",
      body,
      redirect: "manual",
      headers: {
        "content-type": "application/json",
        "webhook-id": `evt_${n}`,
        "webhook-timestamp": at,
        "webhook-signature": `v1,${signature}`,
      },
    });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    await answer.arrayBuffer();
  }
}

await Promise.all(Array.from({ length: concurrency }, work));
