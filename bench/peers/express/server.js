// The architecture wharfd replaces: Express takes the webhook, checks it, sets a dedup key in Redis and adds a
// BullMQ job. Redis keeps nothing on disk, which is its best case: this acknowledges what a crash would lose.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import express from "express";
import { Queue } from "bullmq";

const [port, redisPort, key] = process.argv.slice(2);
const secret = Buffer.from(key, "base64");
const queue = new Queue("webhooks", { connection: { host: "127.0.0.1", port: Number(redisPort) } });
const redis = await queue.client;
const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.post("*", express.raw({ type: () => true, limit: "1mb" }), async (request, response) => {
  const expected = createHmac("sha256", secret).update(request.body).digest();
  const given = Buffer.from(request.get("signature") ?? "", "base64");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    return response.status(401).json({ success: false });
  }
  const body = JSON.parse(request.body);
  const id = createHash("sha256").update(`${body.eventName}|${body.resourceId}|${body.payload.statusTime}`).digest("hex");
  const first = await redis.set(`dedup:${id}`, "1", "EX", 3600, "NX");
  if (first) {
    await queue.add(body.eventName, body, { jobId: id, removeOnComplete: 1000, priority: 1 });
  }
  response.json({ success: true, webhookId: id, duplicate: !first });
});
app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
