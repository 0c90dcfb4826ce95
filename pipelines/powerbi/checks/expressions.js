// Reads a JSON object of M expressions by name; prints one of complaints by Microsoft's parser.
const fs = require("fs");
const { DefaultSettings, TaskUtils } = require("@microsoft/powerquery-parser");

async function main() {
  const complaints = {};
  for (const [name, text] of Object.entries(JSON.parse(fs.readFileSync(0, "utf8")))) {
    const task = await TaskUtils.tryLexParse(DefaultSettings, text);
    if (!TaskUtils.isParseStageOk(task)) complaints[name] = task.error ? task.error.message : "cannot be read";
  }
  console.log(JSON.stringify(complaints));
}

main();
