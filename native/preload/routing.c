#include "routing.h"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

bool is_emulated_socket(int domain, int type, int protocol) {
  const int kind = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
  return domain == AF_NETLINK && (kind == SOCK_RAW || kind == SOCK_DGRAM) &&
         (protocol == NETLINK_GENERIC || protocol == NETLINK_NETFILTER);
}

bool group_is_foreign(int protocol, unsigned group) {
  return protocol == NETLINK_NETFILTER && group > LAST_CONNTRACK_GROUP;
}

/// Whether nokmod answers to a name that CTRL_CMD_GETFAMILY asks for.
static bool is_emulated_family(const char *name, size_t length) {
  const size_t size = strnlen(name, length);
  return (size >= 4 && memcmp(name, "ovs_", 4) == 0) || (size == 6 && memcmp(name, "nlctrl", 6) == 0) ||
         (size == 7 && memcmp(name, "psample", 7) == 0);
}

bool message_is_foreign(int protocol, const void *bytes, size_t length) {
  const struct nlmsghdr *message = bytes;
  if (length < NLMSG_HDRLEN) return false;
  if (protocol == NETLINK_NETFILTER) {
    const int subsystem = message->nlmsg_type >> 8;
    return message->nlmsg_type >= NLMSG_MIN_TYPE && subsystem != 1 && subsystem != 2 && subsystem != 8;
  }
  const size_t first = NLMSG_HDRLEN + GENL_HDRLEN;
  if (message->nlmsg_type != GENL_ID_CTRL || length < first || (message->nlmsg_flags & NLM_F_DUMP) != 0) return false;
  const char *start = bytes;
  if (((const struct genlmsghdr *)(start + NLMSG_HDRLEN))->cmd != CTRL_CMD_GETFAMILY) return false;
  if (message->nlmsg_len < length) length = message->nlmsg_len;
  for (size_t at = first; at + NLA_HDRLEN <= length;) {
    const struct nlattr *attribute = (const struct nlattr *)(start + at);
    if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > length - at) return false;
    if ((attribute->nla_type & NLA_TYPE_MASK) == CTRL_ATTR_FAMILY_NAME) {
      return !is_emulated_family(start + at + NLA_HDRLEN, attribute->nla_len - NLA_HDRLEN);
    }
    at += NLA_ALIGN(attribute->nla_len);
  }
  return false;
}
