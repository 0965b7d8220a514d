// What a program in TypeScript does with the API, typed by docs/openapi.yaml alone: sign up, record a call, read what was spent.
// node example.js <base url> <e-mail>; prints one line of JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Problem = components["schemas"]["Problem"];

const [baseUrl, email] = process.argv.slice(2);
if (baseUrl === undefined || email === undefined)
  throw new Error("usage: node example.js <base url> <e-mail>");
// Tags are free names of query parameters: an exploded object.
const client = createClient<paths>({ baseUrl, querySerializer: { object: { style: "form", explode: true } } });

function must<T>(answer: { data?: T; error?: Problem; response: Response }): T {
  if (answer.data === undefined)
    throw new Error(`${answer.response.status} ${answer.error?.code}: ${answer.error?.detail}`);
  return answer.data;
}

const account = must(await client.POST("/api/auth/signup", {
  body: { email, password: "correct horse battery 7 staple", name: "Ada" },
}));
client.use({
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${account.access_token}`);
    return request;
  },
});

const call = { provider: "openai", model: "gpt-4", input_tokens: 1000, output_tokens: 500, tags: { team: "search" } };
const headers = { "Idempotency-Key": "call-1" };
const first = must(await client.POST("/api/events/track", { params: { header: headers }, body: call }));
const again = must(await client.POST("/api/events/track", { params: { header: headers }, body: call }));
const summary = must(await client.GET("/api/costs/summary", { params: { query: { days: 1 } } }));
const events = must(await client.GET("/api/events", { params: { query: { tag: { "tag.team": "search" }, limit: 10 } } }));

const refused = await client.POST("/api/events/track", { body: { model: "gpt-4", input_tokens: -1 } });
const wrong: Problem | undefined = refused.error;

// What is not in the description does not compile.
// @ts-expect-error
void summary.total_costs;
// @ts-expect-error
void client.GET("/api/costs/sumary");

console.log(JSON.stringify({
  cost: first.cost, duplicate: again.duplicate, same: again.event_id === first.event_id, total: summary.total_cost,
  calls: summary.call_count, listed: events.events.map((e) => e.event_id === first.event_id),
  refused: refused.response.status, field: wrong?.errors?.[0]?.field,
}));
