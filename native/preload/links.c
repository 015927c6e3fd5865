#define _GNU_SOURCE
#include "links.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "channel.h"

static const char kMasterKind[] = "openvswitch";
enum { LINKS_AT_ONCE = 512, RECORD_HEADER = 12 };
/// nlmsg_pid of a request that is to fail; its last byte is the errno of the answer. The kernel ignores that field and
/// returns it.
static const uint32_t kRefused = 0x6e6f6b00, kRefusedFilter = 0x6e6f6c00, kErrno = 0xff;

/// The attributes of a link message: from `at` on.
static const size_t kAttributes = NLMSG_LENGTH(sizeof(struct ifinfomsg));

/// The attribute of that type among those of [at, end), or NULL.
static const struct nlattr *find(const char *bytes, size_t at, size_t end, int type) {
  while (at + NLA_HDRLEN <= end) {
    const struct nlattr *attribute = (const struct nlattr *)(bytes + at);
    if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > end - at) return NULL;
    if ((attribute->nla_type & NLA_TYPE_MASK) == type) return attribute;
    at += NLA_ALIGN(attribute->nla_len);
  }
  return NULL;
}

/// Whether a device of that kind might be nokmod's. The server has the last word.
static bool is_tunnel(const char *kind, size_t length) {
  static const char *const kKinds[] = {"vxlan",     "geneve", "gre",       "gretap",
                                      "ip6gretap", "erspan", "ip6erspan", "bareudp"};
  const size_t size = strnlen(kind, length);
  for (size_t i = 0; i < sizeof kKinds / sizeof *kKinds; i++) {
    if (strlen(kKinds[i]) == size && memcmp(kKinds[i], kind, size) == 0) return true;
  }
  return false;
}

/// A request that fails with ENODEV in the place of another, which failed with `error`. `refused`: kRefused or kRefusedFilter.
static void refuse(struct nlmsghdr header, uint32_t refused, uint32_t error, void *changed, size_t *changed_length) {
  const struct ifinfomsg nowhere = {.ifi_index = INT32_MAX};
  header.nlmsg_len = NLMSG_LENGTH(sizeof nowhere);
  header.nlmsg_type = RTM_SETLINK;
  header.nlmsg_pid = refused | (error & kErrno);
  memcpy(changed, &header, sizeof header);
  memcpy((char *)changed + NLMSG_HDRLEN, &nowhere, sizeof nowhere);
  *changed_length = header.nlmsg_len;
}

/// A device as the server describes it.
struct record {
  uint32_t ifindex, master, length;
  const char *info;
};

/// The record of a device among those of a reply, or one whose ifindex is 0.
static struct record look_up(const char *reply, size_t length, uint32_t ifindex) {
  size_t at = 0;
  while (length - at >= RECORD_HEADER) {
    struct record record;
    memcpy(&record, reply + at, RECORD_HEADER);
    record.info = reply + at + RECORD_HEADER;
    if (record.length > length - at - RECORD_HEADER) break;
    if (record.ifindex == ifindex) return record;
    const size_t size = RECORD_HEADER + NLA_ALIGN(record.length);
    if (size > length - at) break;
    at += size;
  }
  return (struct record){0};
}

/// Whether a datapath of nokmod has the device.
static bool is_port(int fd, uint32_t ifindex) {
  char reply[1024];
  size_t length = sizeof reply;
  struct answer answer;
  if (channel_ask(OP_LINKS, fd, &ifindex, sizeof ifindex, &answer, reply, &length) != 0 || answer.error != 0) return false;
  return look_up(reply, length, ifindex).master != 0;
}

/// Refuses flower filters of tc on a port (RTM_NEWTFILTER), as the kernel does where flower is not built in: packets of a port do
/// not come to the host's tc, so a flow that ovs-vswitchd offloads there (other_config:hw-offload) would never match. It
/// then uses the datapath. A filter of a block (TCM_IFINDEX_MAGIC_BLOCK) names no device; ovs-vswitchd makes blocks for its ports.
static bool refuse_filter(int fd, const char *bytes, size_t length, void *changed, size_t *changed_length) {
  struct nlmsghdr header;
  struct tcmsg filter;
  static const char kFlower[] = "flower";
  if (length < NLMSG_LENGTH(sizeof filter)) return false;
  memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type != RTM_NEWTFILTER || header.nlmsg_len != length) return false;
  memcpy(&filter, bytes + NLMSG_HDRLEN, sizeof filter);
  const struct nlattr *kind = find(bytes, NLMSG_LENGTH(sizeof filter), length, TCA_KIND);
  if (kind == NULL || kind->nla_len < NLA_HDRLEN + sizeof kFlower) return false;
  if (memcmp((const char *)kind + NLA_HDRLEN, kFlower, sizeof kFlower) != 0) return false;
  const uint32_t ifindex = (uint32_t)filter.tcm_ifindex;
  if (ifindex != TCM_IFINDEX_MAGIC_BLOCK && !is_port(fd, ifindex)) return false;
  refuse(header, kRefusedFilter, EOPNOTSUPP, changed, changed_length);
  return true;
}

bool links_outgoing(int fd, const void *bytes, size_t length, void *changed, size_t *changed_length) {
  const char *start = bytes;
  struct nlmsghdr header;
  if (length < kAttributes) return false;
  memcpy(&header, bytes, sizeof header);
  if (header.nlmsg_type == RTM_NEWTFILTER) return refuse_filter(fd, start, length, changed, changed_length);
  if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_len != length || !(header.nlmsg_flags & NLM_F_CREATE)) return false;
  const struct nlattr *info = find(start, kAttributes, length, IFLA_LINKINFO);
  if (info == NULL) return false;
  const size_t info_at = (size_t)((const char *)info - start);
  const struct nlattr *kind = find(start, info_at + NLA_HDRLEN, info_at + info->nla_len, IFLA_INFO_KIND);
  if (kind == NULL || !is_tunnel((const char *)kind + NLA_HDRLEN, kind->nla_len - NLA_HDRLEN)) return false;

  struct answer answer;
  size_t nothing = 0;
  // No server, or not for it: the kernel's.
  if (channel_ask(OP_NEW_LINK, fd, bytes, length, &answer, NULL, &nothing) != 0) return false;
  if (answer.error == EOPNOTSUPP || answer.error == EPERM) return false;
  // A device that is there may be changed, unless the program wants a new one.
  if (answer.error == EEXIST && !(header.nlmsg_flags & NLM_F_EXCL)) return false;
  if (answer.error != 0) {
    refuse(header, kRefused, answer.error, changed, changed_length);
    return true;
  }

  // The device is there: all that is left is to set it up, and that answers the program's request.
  header.nlmsg_type = RTM_SETLINK;
  header.nlmsg_flags &= (uint16_t)~(NLM_F_CREATE | NLM_F_EXCL | NLM_F_REPLACE | NLM_F_APPEND);
  const size_t info_end = info_at + NLA_ALIGN(info->nla_len) < length ? info_at + NLA_ALIGN(info->nla_len) : length;
  header.nlmsg_len = (uint32_t)(length - (info_end - info_at));
  memcpy(changed, bytes, info_at);
  memcpy((char *)changed + info_at, start + info_end, length - info_end);
  memcpy(changed, &header, sizeof header);
  *changed_length = header.nlmsg_len;
  return true;
}

/// Where a changed datagram is put together.
struct writer {
  char *bytes;
  size_t length;
};

static void put(struct writer *writer, const void *bytes, size_t length) {
  memcpy(writer->bytes + writer->length, bytes, length);
  memset(writer->bytes + writer->length + length, 0, NLA_ALIGN(length) - length);
  writer->length += NLA_ALIGN(length);
}

static void put_attribute(struct writer *writer, uint16_t type, const void *bytes, size_t length) {
  const struct nlattr header = {.nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = type};
  memcpy(writer->bytes + writer->length, &header, sizeof header);
  writer->length += NLA_HDRLEN;
  put(writer, bytes, length);
}

/// IFLA_LINKINFO: the device's own kind and its master's. `old` is what the kernel tells, or NULL.
static void put_info(struct writer *writer, const struct record *record, const struct nlattr *old) {
  const size_t at = writer->length;
  writer->length += NLA_HDRLEN;
  if (record->length != 0) {
    put(writer, record->info, record->length);
  } else if (old != NULL) {
    put(writer, (const char *)old + NLA_HDRLEN, old->nla_len - NLA_HDRLEN);
  }
  if (record->master != 0) put_attribute(writer, IFLA_INFO_SLAVE_KIND, kMasterKind, sizeof kMasterKind);
  const struct nlattr header = {.nla_len = (uint16_t)(writer->length - at), .nla_type = IFLA_LINKINFO};
  memcpy(writer->bytes + at, &header, sizeof header);
}

/// One RTM_NEWLINK, changed.
static void put_link(struct writer *writer, const struct nlmsghdr *message, const struct record *record) {
  const size_t start = writer->length;
  const char *bytes = (const char *)message;
  put(writer, bytes, kAttributes);
  bool master = record->master == 0, info = false;
  for (size_t at = kAttributes; at + NLA_HDRLEN <= message->nlmsg_len;) {
    const struct nlattr *attribute = (const struct nlattr *)(bytes + at);
    if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > message->nlmsg_len - at) break;
    const int type = attribute->nla_type & NLA_TYPE_MASK;
    // The kernel tells of the master right before the carrier.
    if (!master && type == IFLA_CARRIER) {
      put_attribute(writer, IFLA_MASTER, &record->master, sizeof record->master);
      master = true;
    }
    if (type == IFLA_LINKINFO) {
      // There is room for one: the kernel tells no more.
      if (!info) put_info(writer, record, attribute);
      info = true;
    } else if (type != IFLA_MASTER || record->master == 0) {
      put(writer, attribute, attribute->nla_len);
    }
    at += NLA_ALIGN(attribute->nla_len);
  }
  if (!master) put_attribute(writer, IFLA_MASTER, &record->master, sizeof record->master);
  if (!info) put_info(writer, record, NULL);
  const uint32_t length = (uint32_t)(writer->length - start);
  memcpy(writer->bytes + start, &length, sizeof length);
}

/// The next message of a datagram, or NULL.
static const struct nlmsghdr *next_message(const char *bytes, size_t length, size_t *at) {
  if (length < NLMSG_HDRLEN || *at > length - NLMSG_HDRLEN) return NULL;
  const struct nlmsghdr *message = (const struct nlmsghdr *)(bytes + *at);
  if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > length - *at) return NULL;
  *at += NLMSG_ALIGN(message->nlmsg_len);
  return message;
}

static uint32_t ifindex_of(const struct nlmsghdr *message) {
  if (message->nlmsg_type != RTM_NEWLINK || message->nlmsg_len < kAttributes) return 0;
  const struct ifinfomsg *link = (const struct ifinfomsg *)((const char *)message + NLMSG_HDRLEN);
  return link->ifi_family == AF_UNSPEC ? (uint32_t)link->ifi_index : 0;
}

/// Whether a message is the failure of a request that refuse() made.
static bool is_refusal(const struct nlmsghdr *message) {
  if (message->nlmsg_type != NLMSG_ERROR || message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr))) return false;
  const struct nlmsgerr *failure = (const struct nlmsgerr *)((const char *)message + NLMSG_HDRLEN);
  const uint32_t refused = failure->msg.nlmsg_pid & ~kErrno;
  return failure->error == -ENODEV && failure->msg.nlmsg_type == RTM_SETLINK &&
         (refused == kRefused || refused == kRefusedFilter);
}

/// A copy of a datagram in which such failures are those of the requests that the program made; NULL if there are none.
static void *restore_refusals(const char *bytes, size_t length) {
  char *copy = NULL;
  size_t at = 0;
  const struct nlmsghdr *message;
  while ((message = next_message(bytes, length, &at)) != NULL) {
    if (!is_refusal(message)) continue;
    if (copy == NULL) {
      copy = malloc(length);
      if (copy == NULL) return NULL;
      memcpy(copy, bytes, length);
    }
    struct nlmsgerr *failure = (struct nlmsgerr *)(copy + ((const char *)message - bytes) + NLMSG_HDRLEN);
    failure->error = -(int)(failure->msg.nlmsg_pid & kErrno);
    failure->msg.nlmsg_type = (failure->msg.nlmsg_pid & ~kErrno) == kRefused ? RTM_NEWLINK : RTM_NEWTFILTER;
    failure->msg.nlmsg_pid = 0;
  }
  return copy;
}

void *links_incoming(int fd, const void *bytes, size_t *length) {
  uint32_t wanted[LINKS_AT_ONCE];
  size_t count = 0, at = 0;
  const struct nlmsghdr *message;
  while (count < LINKS_AT_ONCE && (message = next_message(bytes, *length, &at)) != NULL) {
    const uint32_t ifindex = ifindex_of(message);
    if (ifindex != 0) wanted[count++] = ifindex;
  }
  if (count == 0) return restore_refusals(bytes, *length);
  const int saved = errno;
  char reply[32768];
  size_t reply_length = sizeof reply;
  struct answer answer;
  const int error = channel_ask(OP_LINKS, fd, wanted, count * sizeof *wanted, &answer, reply, &reply_length);
  errno = saved;
  if (error != 0 || answer.error != 0 || reply_length < RECORD_HEADER) return NULL;

  struct writer writer = {.bytes = malloc(*length + count * (reply_length + 64))};
  if (writer.bytes == NULL) return NULL;
  at = 0;
  size_t done = 0;
  while ((message = next_message(bytes, *length, &at)) != NULL) {
    const uint32_t ifindex = ifindex_of(message);
    // There is room for so many changes as there were devices asked for.
    const bool known = ifindex != 0 && count != 0;
    const struct record record = known ? look_up(reply, reply_length, ifindex) : (struct record){0};
    if (known) count--;
    if (record.ifindex == 0) put(&writer, message, message->nlmsg_len);
    else put_link(&writer, message, &record);
    done = at;
  }
  if (done < *length) put(&writer, (const char *)bytes + done, *length - done);
  *length = writer.length;
  return writer.bytes;
}
