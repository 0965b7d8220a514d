// node lint.mjs <openapi.yaml> [<openapi.json>]: the description is sound OpenAPI 3.1 (the rules that the linter recommends, and
// those below), and the JSON that the build made of it is the same document.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { createConfig, lint } from "@redocly/openapi-core";
import { parse } from "yaml";

const [source, made] = process.argv.slice(2);
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
let rules = 1;
if (made) {
  rules++;
  const same = isDeepStrictEqual(JSON.parse(readFileSync(made, "utf8")), parse(readFileSync(source, "utf8")));
  if (!same)
    failed++;
  console.log(`${same ? "ok" : "FAIL"} the JSON in the program is openapi.yaml`);
}
console.log(`${rules - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
