// Proof of CAP_NET_ADMIN that one process can hand to another: a NETLINK_ROUTE socket with the kernel's answer to a request
// for which the kernel asks that capability of the socket's opener and of the sender, both, in the user namespace that owns
// the socket's network namespace (netlink_net_capable()). The request deletes a link without naming one: EINVAL where it is
// allowed, EPERM where not. Nobody else can make that answer: other processes' messages name their sender, and the kernel's
// answers repeat the type that was asked for.
#ifndef NOKMOD_PRELOAD_PROOF_H
#define NOKMOD_PRELOAD_PROOF_H

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct proof_request {
  struct nlmsghdr header;
  struct ifinfomsg link;
};

struct proof_answer {
  struct nlmsghdr header;
  struct nlmsgerr error;
};

/// A socket that proves what the calling thread may do, or -1. Goes through no interposed symbol.
static inline int proof_make(void) {
  const int fd = (int)syscall(SYS_socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return -1;
  struct proof_request request;
  memset(&request, 0, sizeof request);
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  if (syscall(SYS_sendto, fd, &request, sizeof request, MSG_NOSIGNAL, NULL, 0) == (long)sizeof request) return fd;
  syscall(SYS_close, fd);
  return -1;
}

/// Whether the socket holds the kernel's answer that proves it. Takes that answer. Never waits, whatever the descriptor is.
static inline bool proof_holds(int fd) {
  int value = 0;
  socklen_t size = sizeof value;
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size) != 0 || value != AF_NETLINK) return false;
  size = sizeof value;
  if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &size) != 0 || value != NETLINK_ROUTE) return false;
  struct proof_answer answer;
  struct sockaddr_nl from;
  struct iovec part;
  struct msghdr message;
  memset(&answer, 0, sizeof answer);
  memset(&from, 0, sizeof from);
  memset(&message, 0, sizeof message);
  part.iov_base = &answer;
  part.iov_len = sizeof answer;
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (recvmsg(fd, &message, MSG_DONTWAIT) < (ssize_t)sizeof answer) return false;
  return message.msg_namelen == sizeof from && from.nl_family == AF_NETLINK && from.nl_pid == 0 &&
         answer.header.nlmsg_type == NLMSG_ERROR && answer.error.msg.nlmsg_type == RTM_DELLINK &&
         answer.error.error == -EINVAL;
}

#endif
