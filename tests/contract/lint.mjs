// node lint.mjs <docs folder> [--write]: docs/openapi.yaml is sound OpenAPI 3.1 (the rules that the linter recommends, and
// those below), and docs/openapi.json is the same document. --write makes the JSON from the YAML.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createConfig, lint } from "@redocly/openapi-core";
import { parse } from "yaml";

const folder = process.argv[2];
const source = join(folder, "openapi.yaml");
const target = join(folder, "openapi.json");
const json = JSON.stringify(parse(readFileSync(source, "utf8")), null, 1) + "\n";

if (process.argv.includes("--write")) {
  writeFileSync(target, json);
  process.exit(0);
}

const config = await createConfig({
  extends: ["recommended-strict"],
  rules: {
    "operation-description": "error",
    "operation-operationId-unique": "error",
    "no-unused-components": "error",
    "no-invalid-media-type-examples": "error",
    "no-invalid-schema-examples": "error",
    "tag-description": "error",
    "no-ambiguous-paths": "off", // /api/events/export and /api/events/{id}: the path without an argument wins
    "operation-4xx-response": "error",
    "no-server-example.com": "off",
  },
});
const problems = await lint({ ref: source, config });
for (const problem of problems) {
  const at = problem.location[0];
  console.log(`${problem.severity} ${problem.ruleId}: ${problem.message} (${at?.pointer ?? ""})`);
}
let failed = problems.length > 0 ? 1 : 0;
console.log(`${failed ? "FAIL" : "ok"} openapi.yaml has no findings`);
const same = readFileSync(target, "utf8") === json;
if (!same)
  failed++;
console.log(`${same ? "ok" : "FAIL"} openapi.json is made from openapi.yaml (make it with: scripts/openapi)`);
console.log(`${2 - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
