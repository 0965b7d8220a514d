// The description of the API as the tests here need it: routes that can be found by path, and schemas that are closed.
import { readFileSync } from "node:fs";
import { parse } from "yaml";

export const METHODS = ["get", "post", "put", "patch", "delete"];

export function load(path) {
  return parse(readFileSync(path, "utf8")); // JSON is YAML, too
}

export function resolve(document, thing) {
  let result = thing;
  while (result && result.$ref)
    result = result.$ref.replace(/^#\//, "").split("/").reduce((at, key) => at[key], document);
  return result;
}

// Every operation: {id, method, path, item, operation, regex}. A path without arguments comes before one with.
export function operations(document) {
  const all = [];
  for (const [path, item] of Object.entries(document.paths))
    for (const method of METHODS.filter((m) => item[m]))
      all.push({
        id: item[method].operationId, method: method.toUpperCase(), path, item, operation: item[method],
        regex: new RegExp("^" + path.replace(/[.+]/g, "\\$&").replace(/\{\w+\}/g, "[^/]+") + "/?$"),
      });
  return all.sort((a, b) => Number(a.path.includes("{")) - Number(b.path.includes("{")));
}

// The document with two forms of each component schema: <name> refuses properties that it does not name, <name>__open does not,
// for use inside allOf.
export function closed(document) {
  const schemas = {};
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    schemas[name] = close(schema, true);
    schemas[name + "__open"] = close(schema, false);
  }
  return schemas;
}

export function close(schema, strict) {
  if (Array.isArray(schema))
    return schema.map((s) => close(s, true));
  if (schema === null || typeof schema !== "object")
    return schema;
  if (schema.$ref)
    return { $ref: schema.$ref.replace("#/components/schemas/", "#/$defs/") + (strict ? "" : "__open") };
  const result = {};
  for (const [key, value] of Object.entries(schema)) {
    if (key === "allOf")
      result.allOf = value.map((s) => close(s, false));
    else if (key === "properties" || key === "patternProperties")
      result[key] = Object.fromEntries(Object.entries(value).map(([n, s]) => [n, close(s, true)]));
    else if (["items", "additionalProperties", "propertyNames", "oneOf", "anyOf", "not"].includes(key))
      result[key] = close(value, true);
    else if (!["example", "examples", "description"].includes(key) && !key.startsWith("x-"))
      result[key] = value;
  }
  if (strict && (result.properties || result.allOf) && result.additionalProperties === undefined)
    result.unevaluatedProperties = false;
  return result;
}
