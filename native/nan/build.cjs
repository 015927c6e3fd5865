// Builds the optional nan unit with node-gyp, in a directory of its own under build/, and puts nokmod_shared.node beside
// the main addon. A failure is printed as a warning and ends nothing: src/native/shared-memory.ts makes copies without it.
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const [nodedir, productDir] = process.argv.slice(2);
const output = path.resolve(productDir, "nokmod_shared.node");

function nodeGyp() {
  if (process.env.npm_config_node_gyp) return process.env.npm_config_node_gyp;
  return require.resolve("node-gyp/bin/node-gyp.js");
}

function build() {
  require.resolve("nan");
  const directory = path.resolve(productDir, "..", "nan");
  fs.mkdirSync(directory, { recursive: true });
  for (const name of ["binding.gyp", "shared_memory.cc"]) {
    fs.copyFileSync(path.join(__dirname, name), path.join(directory, name));
  }
  const args = [nodeGyp(), "rebuild", "--directory", directory];
  if (nodedir) args.push(`--nodedir=${nodedir}`);
  const result = spawnSync(process.execPath, args, { encoding: "utf8" });
  if (result.status !== 0) {
    throw new Error((result.stderr || String(result.error)).trim().split("\n").slice(-15).join("\n"));
  }
  fs.copyFileSync(path.join(directory, "build", "Release", "nokmod_shared.node"), output);
}

fs.mkdirSync(path.dirname(output), { recursive: true });
fs.rmSync(output, { force: true });
try {
  build();
} catch (error) {
  console.warn(`nokmod: the optional shared-memory unit was not built; its fallback is used.\n${error.message}`);
}
fs.writeFileSync(path.resolve(productDir, "nokmod_shared.stamp"), "");
