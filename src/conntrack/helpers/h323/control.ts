import { IpProto } from "../../../packet/ip.ts";
import { NF_CT_EXPECT_PERMANENT } from "../../../uapi/nfnetlink.ts";
import { AddResult } from "../../expect.ts";
import { T } from "../../layout.ts";
import { FOLLOW_MASTER } from "../helper.ts";
import { h323Port, type Message, RTP_CHANNELS } from "./message.ts";
import type { Value } from "./per.ts";

/** H.245: an end opens a logical channel, or acknowledges one, and says where it wants the media. */

/** @returns false to drop the packet */
export function control(message: Message, signal: Value): boolean {
  const open = signal.at("request", "openLogicalChannel");
  if (open !== undefined) return openChannel(message, open);
  const ack = signal.at("response", "openLogicalChannelAck");
  return ack === undefined || acknowledge(message, ack);
}

const PARAMETERS = ["multiplexParameters", "h2250LogicalChannelParameters"] as const;

/** @returns false to drop the packet */
export function openChannel(message: Message, open: Value): boolean {
  const forward = open.at("forwardLogicalChannelParameters");
  if (!channel(message, forward?.at(...PARAMETERS))) return false;
  if (!channel(message, open.at("reverseLogicalChannelParameters", ...PARAMETERS))) return false;
  if (forward?.at("dataType", "data", "application", "t120", "separateLANStack") === undefined) return true;
  return conference(message, open.at("separateStack"));
}

function acknowledge(message: Message, ack: Value): boolean {
  return (
    channel(message, ack.at("reverseLogicalChannelParameters", ...PARAMETERS)) &&
    channel(message, ack.at("forwardMultiplexAckParameters", "h2250LogicalChannelAckParameters")) &&
    conference(message, ack.at("separateStack"))
  );
}

function channel(message: Message, parameters: Value | undefined): boolean {
  return media(message, parameters?.at("mediaChannel")) && media(message, parameters?.at("mediaControlChannel"));
}

/** Expects RTP at the even port of a pair, RTCP at the odd one, whichever of them is named. */
function media(message: Message, at: Value | undefined): boolean {
  if (!message.readMedia(at) || !message.isOwn) return true;
  const { context, words, other } = message;
  const { expectations, now } = context;
  const even = h323Port & 0xfffe;
  const rtp = message.expectation(IpProto.UDP, words, other + T.DST, even);
  const rtcp = message.expectation(IpProto.UDP, words, other + T.DST, even + 1);
  if (!message.isSenderTranslated) {
    if (!message.expect(rtp)) return false;
    if (message.expect(rtcp)) return true;
    expectations.giveUp(rtp);
    return false;
  }
  const named = h323Port;
  const index = channelOf(message, even);
  if (index < 0) return true;
  for (const expectation of [rtp, rtcp]) {
    expectation.translate(1 - message.direction, expectation.port, FOLLOW_MASTER, context.followMaster);
  }
  for (let free = even; free <= 0xffff && free !== 0; free += 2) {
    let result = expectations.add(rtp.setPort(free), now);
    if (result === AddResult.OK) {
      result = expectations.add(rtcp.setPort(free + 1), now);
      if (result !== AddResult.OK) expectations.remove(rtp, 0, false);
    }
    if (result === AddResult.BUSY) continue;
    // Without a pair of ports the message goes on as it is.
    if (result !== AddResult.OK) return true;
    if (message.writeMedia(at, other + T.DST, free | (named & 1))) {
      message.setRtpPort(index, message.direction, even);
      message.setRtpPort(index, 1 - message.direction, free);
      return true;
    }
    for (const expectation of [rtp, rtcp]) expectations.giveUp(expectation);
    return false;
  }
  return true;
}

/** The channel that has this port, or else a free one; -1 if there is neither. */
function channelOf(message: Message, even: number): number {
  for (let i = 0; i < RTP_CHANNELS; i++) {
    const known = message.rtpPort(i, message.direction);
    if (known === even || known === 0) return i;
  }
  return -1;
}

/** Expects connections of T.120 data conferencing, any number of them. */
function conference(message: Message, access: Value | undefined): boolean {
  const at = access?.at("networkAddress", "localAreaAddress");
  if (!message.readMedia(at) || !message.isOwn) return true;
  const { context, words, other } = message;
  const expectation = message.expectation(IpProto.TCP, words, other + T.DST, h323Port);
  expectation.flags = NF_CT_EXPECT_PERMANENT;
  if (!message.isSenderTranslated) return message.expect(expectation);
  expectation.translate(1 - message.direction, h323Port, FOLLOW_MASTER, context.followMaster);
  return message.expectTranslated(expectation, h323Port, (free) => message.writeMedia(at, other + T.DST, free));
}
