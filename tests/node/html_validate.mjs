// Reads {name: html} and the rules that are off from the file named first; writes {name: [complaints]} to the second.
import { readFileSync, writeFileSync } from "node:fs";
import { HtmlValidate } from "html-validate";

const [from, to] = process.argv.slice(2);
const { pages, off } = JSON.parse(readFileSync(from, "utf8"));
const rules = Object.fromEntries(off.map((rule) => [rule, "off"]));
const judge = new HtmlValidate({ root: true, extends: ["html-validate:recommended"], rules });
const told = {};
for (const [name, page] of Object.entries(pages)) {
  const report = await judge.validateString(page);
  told[name] = report.results.flatMap((result) =>
    result.messages.map((each) => `${each.line}:${each.column} ${each.ruleId}: ${each.message}`),
  );
}
writeFileSync(to, JSON.stringify(told));
