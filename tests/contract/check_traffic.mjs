// node check_traffic.mjs <openapi.json> <traffic folder> <exceptions.json>
//
// Holds what the tests sent and the server answered against the description of the API, in both directions: every exchange must
// be as described (route, status, media type, headers, every field; for requests that were accepted the parameters and the body
// too), and everything that is described must have been seen (operations, statuses, parameters, fields). Three checks for each
// operation and one for each schema; ends with "N passed, N failed".
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { close, closed, load, operations, resolve } from "./document.mjs";

const [documentPath, trafficFolder, exceptionsPath] = process.argv.slice(2);
const document = load(documentPath);
const exceptions = load(exceptionsPath);
const routes = operations(document);
const ajv = new Ajv2020({ strict: false, allErrors: false, coerceTypes: false });
addFormats(ajv);
ajv.addFormat("int64", true);
const definitions = closed(document);

const SHOWN = 5; // of each kind of mismatch
const mismatches = new Map(); // operation or "none" -> Map(message -> [count, where])
const seenStatuses = new Map(routes.map((r) => [r.id, new Map()]));
const seenFields = new Set();
const compiled = new Map();

function complain(id, message, exchange) {
  const own = mismatches.get(id) ?? mismatches.set(id, new Map()).get(id);
  const entry = own.get(message) ?? [0, `${exchange.method} ${exchange.target.slice(0, 200)} -> ${exchange.status} in ${exchange.test}`];
  entry[0]++;
  own.set(message, entry);
}

function validator(schema) {
  let found = compiled.get(schema);
  if (found === undefined) {
    found = ajv.compile({ ...close(schema, true), $defs: definitions });
    compiled.set(schema, found);
  }
  return found;
}

function check(schema, value) {
  const valid = validator(schema);
  if (valid(value))
    return null;
  const error = valid.errors[0];
  const name = error.params.unevaluatedProperty ?? error.params.additionalProperty;
  return `${error.instancePath.replace(/\/\d+/g, "/0") || "/"} ${error.message}${name ? `: ${name}` : ""}`;
}

// ---- which fields were seen

// Where a property is described: "Event.pricing", or "trackBatch 200.results" for schemas without a name.
function note(schema, value, place) {
  const name = schema.$ref?.split("/").pop();
  const s = resolve(document, schema);
  const here = name ?? place;
  for (const part of s.allOf ?? [])
    note(part, value, here);
  for (const branch of [...(s.oneOf ?? []), ...(s.anyOf ?? [])])
    if (check(branch, value) === null)
      note(branch, value, here);
  if (Array.isArray(value)) {
    if (s.items)
      for (const item of value)
        note(s.items, item, here + "[]");
    return;
  }
  if (value === null || typeof value !== "object")
    return;
  for (const [key, inner] of Object.entries(value)) {
    if (s.properties && Object.hasOwn(s.properties, key)) {
      seenFields.add(`${here}.${key}`);
      note(s.properties[key], inner, `${here}.${key}`);
    } else if (s.additionalProperties && typeof s.additionalProperties === "object") {
      note(s.additionalProperties, inner, here + ".*");
    }
  }
}

// Every place that note() can reach.
function places(schema, place, all = new Set(), visited = new Set()) {
  const name = schema.$ref?.split("/").pop();
  if (name && visited.has(name))
    return all;
  if (name)
    visited.add(name);
  const s = resolve(document, schema);
  const here = name ?? place;
  for (const part of [...(s.allOf ?? []), ...(s.oneOf ?? []), ...(s.anyOf ?? [])])
    places(part, here, all, visited);
  for (const [key, inner] of Object.entries(s.properties ?? {})) {
    all.add(`${here}.${key}`);
    places(inner, `${here}.${key}`, all, visited);
  }
  if (s.items)
    places(s.items, here + "[]", all, visited);
  if (s.additionalProperties && typeof s.additionalProperties === "object")
    places(s.additionalProperties, here + ".*", all, visited);
  return all;
}

// ---- one exchange

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function mediaOf(headers) {
  const name = Object.keys(headers).find((k) => k.toLowerCase() === "content-type");
  return name === undefined ? null : headers[name].split(";")[0].trim().toLowerCase();
}

function isJson(type) {
  return type === "application/json" || type.endsWith("+json");
}

function has(headers, name) {
  return Object.keys(headers).some((k) => k.toLowerCase() === name.toLowerCase());
}

function checkAnswer(route, exchange) {
  const response = resolve(document, route.operation.responses[exchange.status]);
  if (response === undefined)
    return complain(route.id, `status ${exchange.status} is not described`, exchange);
  for (const [name, header] of Object.entries(response.headers ?? {}))
    if (resolve(document, header).required && !has(exchange.answer_headers, name))
      complain(route.id, `${exchange.status} without the header ${name}`, exchange);
  const type = mediaOf(exchange.answer_headers);
  const media = response.content?.[type];
  if (exchange.method !== "HEAD")
    seenStatuses.get(route.id).set(String(exchange.status), (seenStatuses.get(route.id).get(String(exchange.status)) ?? 0) + 1);
  if (response.content === undefined ? exchange.answer_bytes > 0 : media === undefined)
    return complain(route.id, `${exchange.status} in the media type ${type}`, exchange);
  if (media === undefined || exchange.method === "HEAD" || exchange.answer === null)
    return undefined;
  if (!isJson(type))
    return undefined;
  const value = parse(exchange.answer);
  const error = value === undefined ? "not JSON" : check(media.schema, value);
  if (error !== null)
    return complain(route.id, `${exchange.status}: ${error}`, exchange);
  return note(media.schema, value, `${route.id} ${exchange.status}`);
}

function parametersOf(route) {
  return [...(route.item.parameters ?? []), ...(route.operation.parameters ?? [])].map((p) => resolve(document, p));
}

function convert(schema, text) {
  const types = [schema.type].flat();
  return types.some((t) => t === "integer" || t === "number") && text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
}

function checkParameters(route, exchange) {
  const parameters = parametersOf(route);
  const query = new URLSearchParams(exchange.target.split("?")[1] ?? "");
  const free = parameters.find((p) => p.in === "query" && resolve(document, p.schema).type === "object");
  for (const [name, text] of query) {
    const exact = parameters.find((p) => p.in === "query" && p.name === name && p !== free);
    const parameter = exact ?? free;
    const value = exact ? convert(exact.schema, text) : { [name]: text };
    if (parameter === undefined || check(parameter.schema, value) !== null)
      complain(route.id, `accepted the parameter ${name}=${text.slice(0, 40)}`, exchange);
    else
      seenFields.add(`${route.id} ?${parameter.name}`);
  }
  for (const parameter of parameters.filter((p) => p.in === "header" && has(exchange.headers, p.name)))
    seenFields.add(`${route.id} ?${parameter.name}`);
  if (has(exchange.headers, "Idempotency-Key") && !parameters.some((p) => p.name === "Idempotency-Key"))
    complain(route.id, "accepted an Idempotency-Key", exchange);
}

// A field of a body that is null was left out: the description says so once, for all.
function withoutNulls(body) {
  if (body === null || typeof body !== "object" || Array.isArray(body))
    return body;
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null));
}

function checkRequest(route, exchange) {
  checkParameters(route, exchange);
  const described = resolve(document, route.operation.requestBody);
  if (exchange.body_bytes === 0) {
    if (described?.required)
      complain(route.id, "accepted without a body", exchange);
    return;
  }
  const media = described?.content[mediaOf(exchange.headers)];
  if (media === undefined) {
    complain(route.id, `accepted a body of ${mediaOf(exchange.headers)}`, exchange);
    return;
  }
  if (exchange.body === null || has(exchange.headers, "Content-Encoding") || mediaOf(exchange.headers) !== "application/json")
    return;
  const value = withoutNulls(parse(exchange.body));
  const error = value === undefined ? "not JSON" : check(media.schema, value);
  if (error !== null)
    complain(route.id, `accepted a body that is not described: ${error}`, exchange);
  else
    note(media.schema, value, `${route.id} body`);
}

// What has no operation: unknown paths and methods, OPTIONS.
function checkOther(exchange) {
  const allowed = exchange.method === "OPTIONS" ? [204, 404, 400] : [400, 404, 405, 501];
  if (!allowed.includes(exchange.status))
    return complain("none", `${exchange.method} without an operation is answered ${exchange.status}`, exchange);
  if (exchange.status === 204 || exchange.method === "HEAD")
    return undefined;
  const value = parse(exchange.answer ?? "");
  const error = value === undefined ? "not JSON" : check({ $ref: "#/components/schemas/Problem" }, value);
  return error === null ? undefined : complain("none", `${exchange.status}: ${error}`, exchange);
}

// A path without arguments wins, whatever methods it has.
function routeOf(exchange) {
  const path = exchange.target.split("?")[0];
  const method = exchange.method === "HEAD" ? "GET" : exchange.method;
  const pattern = routes.find((r) => r.regex.test(path))?.path;
  return routes.find((r) => r.method === method && r.path === pattern);
}

function checkExchange(exchange) {
  if (exchange.status === 414 || exchange.status === 431)
    return undefined; // the HTTP library's own answers, before there is a request
  const route = routeOf(exchange);
  if (route === undefined)
    return checkOther(exchange);
  checkAnswer(route, exchange);
  return exchange.status < 400 && exchange.method !== "HEAD" ? checkRequest(route, exchange) : undefined;
}

// ---- the report

let passed = 0;
let failed = 0;
function report(good, title, lines = []) {
  good ? passed++ : failed++;
  if (!good) {
    console.log(`FAIL ${title}`);
    for (const line of lines)
      console.log(`     ${line}`);
  }
}

function describedFields(route) {
  const all = new Set();
  for (const parameter of parametersOf(route).filter((p) => p.in !== "path"))
    all.add(`${route.id} ?${parameter.name}`);
  for (const media of Object.values(resolve(document, route.operation.requestBody)?.content ?? {}))
    places(media.schema, `${route.id} body`, all);
  for (const [status, reference] of Object.entries(route.operation.responses))
    for (const media of Object.values(resolve(document, reference).content ?? {}))
      places(media.schema, `${route.id} ${status}`, all);
  return all;
}

const files = readdirSync(trafficFolder).filter((f) => f.endsWith(".jsonl"));
let exchanges = 0;
for (const file of files)
  for (const line of readFileSync(join(trafficFolder, file), "utf8").split("\n"))
    if (line !== "") {
      checkExchange(JSON.parse(line));
      exchanges++;
    }

const fields = new Map(); // place -> schema or operation it belongs to
let statuses = 0;
let statusesSeen = 0;
for (const route of routes) {
  const own = mismatches.get(route.id) ?? new Map();
  report(own.size === 0, `${route.id}: what was seen is not as described`,
    [...own].slice(0, SHOWN * 4).map(([message, [count, where]]) => `${message} (${count} times; ${where})`));
  const missing = Object.keys(route.operation.responses).filter((s) =>
    !seenStatuses.get(route.id).has(s) && !Object.hasOwn(exceptions.statuses, `${route.id} ${s}`));
  statuses += Object.keys(route.operation.responses).length;
  statusesSeen += Object.keys(route.operation.responses).filter((s) => seenStatuses.get(route.id).has(s)).length;
  report(missing.length === 0, `${route.id}: described, but never seen: ${missing.join(" ")}`);
  for (const place of describedFields(route))
    fields.set(place, place.split(/[.[ ]/)[0]);
}
const other = mismatches.get("none") ?? new Map();
report(other.size === 0, "requests without an operation", [...other].map(([message, [count, where]]) => `${message} (${count} times; ${where})`));
const owners = new Map();
for (const [place, owner] of fields)
  owners.set(owner, [...(owners.get(owner) ?? []), ...(seenFields.has(place) || Object.hasOwn(exceptions.fields, place) ? [] : [place])]);
for (const [owner, missing] of owners)
  report(missing.length === 0, `${owner}: fields described, but never seen`, missing);
for (const place of [...Object.keys(exceptions.fields)].filter((p) => seenFields.has(p) || !fields.has(p)))
  report(false, `exceptions.json: ${place} was seen or is not described; remove it`);

const fieldsSeen = [...fields.keys()].filter((p) => seenFields.has(p)).length;
console.log(`${exchanges} exchanges; seen: ${routes.filter((r) => seenStatuses.get(r.id).size > 0).length} of ${routes.length} operations, ` +
  `${statusesSeen} of ${statuses} statuses, ${fieldsSeen} of ${fields.size} parameters and fields`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
