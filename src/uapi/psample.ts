/** Numbers of linux/psample.h, named as there. */

export const PSAMPLE_ATTR_IIFINDEX = 0;
export const PSAMPLE_ATTR_OIFINDEX = 1;
export const PSAMPLE_ATTR_ORIGSIZE = 2;
export const PSAMPLE_ATTR_SAMPLE_GROUP = 3;
export const PSAMPLE_ATTR_GROUP_SEQ = 4;
export const PSAMPLE_ATTR_SAMPLE_RATE = 5;
export const PSAMPLE_ATTR_DATA = 6;
export const PSAMPLE_ATTR_GROUP_REFCOUNT = 7;
export const PSAMPLE_ATTR_TUNNEL = 8;
export const PSAMPLE_ATTR_PAD = 9;
export const PSAMPLE_ATTR_OUT_TC = 10;
export const PSAMPLE_ATTR_OUT_TC_OCC = 11;
export const PSAMPLE_ATTR_LATENCY = 12;
export const PSAMPLE_ATTR_TIMESTAMP = 13;
export const PSAMPLE_ATTR_PROTO = 14;
export const PSAMPLE_ATTR_USER_COOKIE = 15;
export const PSAMPLE_ATTR_SAMPLE_PROBABILITY = 16;
export const PSAMPLE_ATTR_MAX = 16;
export const PSAMPLE_CMD_SAMPLE = 0;
export const PSAMPLE_CMD_GET_GROUP = 1;
export const PSAMPLE_CMD_NEW_GROUP = 2;
export const PSAMPLE_CMD_DEL_GROUP = 3;
export const PSAMPLE_NL_MCGRP_CONFIG_NAME = "config";
export const PSAMPLE_NL_MCGRP_SAMPLE_NAME = "packets";
export const PSAMPLE_GENL_NAME = "psample";
export const PSAMPLE_GENL_VERSION = 1;
