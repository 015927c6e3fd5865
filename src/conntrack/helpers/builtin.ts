import { amandaHelper } from "./amanda.ts";
import { netbiosNsHelper } from "./broadcast.ts";
import { ftpHelper } from "./ftp.ts";
import { h245Helper, q931Helper, rasHelper } from "./h323/h323.ts";
import type { Helper } from "./helper.ts";
import { ircHelper } from "./irc.ts";
import { pptpHelper } from "./pptp.ts";
import { saneHelper } from "./sane.ts";
import { sipTcpHelper, sipUdpHelper } from "./sip/helper.ts";
import { snmpHelper, snmpTrapHelper } from "./snmp.ts";
import { tftpHelper } from "./tftp.ts";

/** The helpers of nf_conntrack, in no particular order: a number each (E.EXT). */
export const builtinHelpers: readonly Helper[] = [
  ftpHelper,
  tftpHelper,
  sipUdpHelper,
  sipTcpHelper,
  ircHelper,
  amandaHelper,
  pptpHelper,
  saneHelper,
  snmpHelper,
  snmpTrapHelper,
  netbiosNsHelper,
  rasHelper,
  q931Helper,
  h245Helper,
];
