// Reads {name: mjml} from the file named first; writes {name: [complaints]} to the second.
import { readFileSync, writeFileSync } from "node:fs";
import mjml2html from "mjml";

const [from, to] = process.argv.slice(2);
const told = {};
for (const [name, source] of Object.entries(JSON.parse(readFileSync(from, "utf8")))) {
  try {
    const made = await mjml2html(source, { validationLevel: "soft", fonts: {} });
    told[name] = made.errors.map((error) => error.formattedMessage);
  } catch (error) {
    told[name] = [String(error)];
  }
}
writeFileSync(to, JSON.stringify(told));
