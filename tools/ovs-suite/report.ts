import type { Outcome } from "./expected.ts";

/** How many of each kind, in a line. */
export function summary(outcomes: readonly Outcome[]): string {
  const count = (ending: string): number => outcomes.filter((outcome) => outcome.ending === ending).length;
  const impossible = outcomes.filter(({ possible }) => !possible).length;
  const wrong = outcomes.filter(({ agrees }) => !agrees).length;
  return [
    `${outcomes.length} tests: ${count("ok")} ok, ${count("failed")} failed, ${count("skipped")} skipped`,
    ...(count("none") > 0 ? [`, ${count("none")} without a result`] : []),
    ...(impossible > 0 ? [`; ${impossible} need what the kernel has not`] : []),
    `; ${wrong === 0 ? "all as expected" : `${wrong} other than expected`}`,
  ].join("");
}

/** A page with every test: docs/ovs-suite.md. */
export function page(outcomes: readonly Outcome[], version: string): string {
  const kernels = [...new Set(outcomes.map(({ kernel }) => kernel))];
  const rows = outcomes.map(({ test, ending, agrees, reason, where, kernel }) => {
    const note = agrees ? reason : `**not as expected** ${where}`;
    return `| ${test.number} | ${test.title} | ${ending} | ${kernel} | ${note} |`;
  });
  return `# OVS's own suite for the kernel datapath, on nokmod

\`system-kmod-testsuite\` of Debian's Open vSwitch ${version}: unmodified ovs-vswitchd, ovsdb-server, ovs-dpctl and
ovs-ofctl under \`nokmod exec\`, real traffic between network namespaces. Nothing of OVS is compiled: the suite comes from
\`openvswitch-source\`, the programs from \`openvswitch-switch\`.

**${summary(outcomes)}.** Run on Linux ${kernels.join(" and ")}${
    kernels.length > 1 ? ": what a test's own set-up needs and the first kernel lacks, the second has" : ""
  }.

\`\`\`
npm run test:ovs -- --quick                  # what this kernel can do, in a few minutes
npm run test:ovs -- 54 97-99 NAT             # by number and by word
npm run test:ovs -- --elsewhere PROGRAM      # the rest in another kernel; --help tells more
\`\`\`

Expected results, with what a test needs, are in \`tools/ovs-suite/expected.json\`; any difference fails the run, and so does a
word from nokmod in its log. The tests run eight to a machine: network, mount and process namespaces with one nokmod that
lives through all eight. Stand-ins for \`modprobe\` (does nothing) and \`ovstest\` (its one command that the suite uses, by
\`conntrack -F\`) lie in \`tools/ovs-suite/bin\`, a TFTP server, which Debian lacks, beside them.

| | test | result | Linux | why not ok |
|---|---|---|---|---|
${rows.join("\n")}
`;
}
