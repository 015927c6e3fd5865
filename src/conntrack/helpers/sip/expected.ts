import type { Expectation } from "../../expect.ts";
import { E, T } from "../../layout.ts";
import { Manip } from "../../manip.ts";
import { sameAddress } from "../address.ts";
import type { HelperContext } from "../helper.ts";
import { ExpectClass, range } from "./message.ts";

/** The CTA_EXPECT_FN name of expected(). */
export const EXPECT_FUNCTION = "sip";

/** Sets up NAT of an expected connection: its destination is the end that expects it, its source the address that this end was
 * given of the other (nf_nat_sip_expected). */
export function expected(context: HelperContext, slot: number, expectation: Expectation): void {
  const { mapper, expectations } = context;
  const { words } = context.table;
  const entry = slot * E.WORDS;
  mapper.setup(slot, range.setAddress(expectation.savedAddress, 0).setPort(expectation.savedPort), Manip.DST);
  if (expectation.class !== ExpectClass.SIGNALLING) {
    const sent = [...expectations.of(expectation.master)]
      .reverse()
      .find(
        (one) =>
          ((one.tuple[T.META] ^ words[entry + T.META]) & 0xffff) === 0 &&
          sameAddress(words, entry + T.SRC, one.savedAddress, 0) &&
          words[entry + T.PORTS] >>> 16 === one.savedPort,
      );
    if (sent !== undefined) {
      mapper.setup(slot, range.setAddress(sent.tuple, T.DST).setPort(sent.port), Manip.SRC);
      return;
    }
  }
  const master = expectation.master * E.WORDS;
  if (!sameAddress(words, entry + T.SRC, words, master + (expectation.direction << E.DIR_SHIFT) + T.SRC)) return;
  const from = master + ((1 - expectation.direction) << E.DIR_SHIFT) + T.DST;
  mapper.setup(slot, range.setAddress(words, from), Manip.SRC);
}
