import { expect, it } from "vitest";
import { Expected } from "../../tools/ovs-suite/expected.ts";
import { parseResult } from "../../tools/ovs-suite/machine.ts";
import { parseList } from "../../tools/ovs-suite/suite.ts";

const EXPECTED = new URL("../../tools/ovs-suite/expected.json", import.meta.url).pathname;
const test = (number: number, title: string) => ({ number, title, source: "system-traffic.at:3", keywords: [] });

it("reads the suite's list: numbers, places, titles, keywords", () => {
  const text = ` NUM: FILE-NAME:LINE     TEST-GROUP-NAME
      KEYWORDS

   1: system-traffic.at:3 datapath - ping between two ports
 169: system-ipsec.at:157 IPsec -- Libreswan (ipv4, geneve)
      geneve ipv4
`;
  expect(parseList(text)).toEqual([
    test(1, "datapath - ping between two ports"),
    {
      number: 169,
      title: "IPsec -- Libreswan (ipv4, geneve)",
      source: "system-ipsec.at:157",
      keywords: ["geneve", "ipv4"],
    },
  ]);
});

it("reads the suite's results", () => {
  expect(parseResult("  8: datapath - IPv6 later fragments ok")).toEqual({ number: 8, ending: "ok", where: "" });
  expect(parseResult(" 21: datapath - regression FAILED (system-traffic.at:737)")).toEqual({
    number: 21,
    ending: "failed",
    where: "system-traffic.at:737",
  });
  expect(parseResult("101: conntrack - timeout   skipped (system-traffic.at:4387)")).toEqual({
    number: 101,
    ending: "skipped",
    where: "system-traffic.at:4387",
  });
  expect(parseResult("1 test was successful.")).toBeUndefined();
});

it("takes a result only as the list has it, and knows a test by its title", () => {
  const expected = new Expected(EXPECTED);
  const result = (number: number, title: string, ending: "ok" | "failed" | "skipped" | "none") =>
    expected.judge({ test: test(number, title), ending, where: "", seconds: 1, remains: "" }).agrees;
  expect(result(1, "datapath - ping between two ports", "ok")).toBe(true);
  for (const ending of ["failed", "skipped", "none"] as const) {
    expect(result(1, "datapath - ping between two ports", ending)).toBe(false);
  }
  expect(result(55, "conntrack - get_nconns and get/set_maxconns", "skipped")).toBe(true);
  expect(result(55, "conntrack - get_nconns and get/set_maxconns", "ok")).toBe(false);
  expect(() => result(1, "datapath - ping between three ports", "ok")).toThrow("another test 1");
});
