import { release } from "node:os";
import type { Expected } from "./expected.ts";
import type { Result } from "./machine.ts";

/** How many of each kind, in a line. */
export function summary(results: readonly Result[], expected: Expected): string {
  const count = (ending: string): number => results.filter((result) => result.ending === ending).length;
  const impossible = results.filter((result) => expected.of(result.test).endings.length > 1).length;
  const other = results.filter((result) => !expected.agrees(result)).length;
  return `${results.length} tests: ${count("ok")} ok, ${count("failed")} failed, ${count("skipped")} skipped${
    count("none") > 0 ? `, ${count("none")} without a result` : ""
  }; ${impossible} ask for what this kernel lacks; ${other} other than expected`;
}

/** A page with every test: docs/ovs-suite.md. */
export function page(results: readonly Result[], expected: Expected, version: string): string {
  const rows = results.map((result) => {
    const { test, ending } = result;
    const { reason } = expected.of(test);
    const note = expected.agrees(result) ? reason : `**not as expected** ${result.where}`;
    return `| ${test.number} | ${test.title.replaceAll("|", "\\|")} | ${ending} | ${note} |`;
  });
  return `# OVS's own suite for the kernel datapath, on nokmod

\`system-kmod-testsuite\` of Debian's Open vSwitch ${version}: unmodified ovs-vswitchd, ovsdb-server, ovs-dpctl and ovs-ofctl,
real traffic between network namespaces. Written by \`npm run test:ovs -- --markdown docs/ovs-suite.md\` on Linux
${release()}.

${summary(results, expected)}.

| | test | result | why not ok |
|---|---|---|---|
${rows.join("\n")}
`;
}
