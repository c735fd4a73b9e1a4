// Reads documents by name from stdin, and prints by name what the validator of the DSL's SDK says.

import { readFileSync } from "node:fs";

import { validate } from "@serverlessworkflow/sdk";

const problems = {};
for (const [name, document] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  try {
    validate("Workflow", document);
    problems[name] = "";
  } catch (error) {
    problems[name] = error.message;
  }
}
console.log(JSON.stringify(problems));
