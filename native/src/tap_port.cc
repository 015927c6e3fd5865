#include "tap_port.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

namespace nokmod {

namespace {

// linux/if_tun.h of Linux 6.2; older headers lack them.
constexpr unsigned kUso = 0x20 | 0x40;
constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
// What `ip link` shows for the module's devices. It is also the length of the queue towards us.
constexpr int kQueueLength = 1000;
constexpr size_t kTag = 4;

uint16_t Load16(const uint8_t* p) { return static_cast<uint16_t>(p[0] << 8 | p[1]); }

}  // namespace

TapPort::TapPort(Arena& arena, const std::string& name, int32_t ifindex, bool l3) : arena_(arena), l3_(l3) {
  fd_ = Fd(Check(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), "/dev/net/tun"));
  if (ifindex > 0) {
    unsigned wanted = static_cast<unsigned>(ifindex);
    Check(ioctl(fd_.get(), TUNSETIFINDEX, &wanted), "TUNSETIFINDEX");
  }
  ifreq ifr{};
  if (name.size() >= sizeof ifr.ifr_name) Throw(EINVAL, "device name too long");
  memcpy(ifr.ifr_name, name.c_str(), name.size() + 1);
  ifr.ifr_flags = static_cast<short>((l3 ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
  Check(ioctl(fd_.get(), TUNSETIFF, &ifr), "TUNSETIFF");
  name_ = ifr.ifr_name;
  int header = kVnet;
  Check(ioctl(fd_.get(), TUNSETVNETHDRSZ, &header), "TUNSETVNETHDRSZ");
  if (ioctl(fd_.get(), TUNSETOFFLOAD, kOffloads | kUso) < 0) Check(ioctl(fd_.get(), TUNSETOFFLOAD, kOffloads), "TUNSETOFFLOAD");
  const Fd any(Check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  ifr.ifr_qlen = kQueueLength;
  Check(ioctl(any.get(), SIOCSIFTXQLEN, &ifr), "SIOCSIFTXQLEN");
}

int TapPort::Receive(RxDescriptor* out, int max, LargeBuffers& large) {
  int count = 0;
  while (count < max && !large.empty()) {
    const size_t buffer = large.Take();
    const size_t off = buffer + LargeBuffers::kHeadroom;
    uint8_t* frame = arena_.data() + off;
    const ssize_t n = read(fd_.get(), frame - kVnet, LargeBuffers::kMaxFrame + kVnet);
    if (n < static_cast<ssize_t>(kVnet + (l3_ ? 1 : ETH_HLEN))) {
      large.GiveBack();
      if (n >= 0 || errno == EINTR) continue;
      break;
    }
    VnetHeader vnet;
    memcpy(&vnet, frame - kVnet, kVnet);
    RxDescriptor& d = out[count++];
    Parse(d, vnet, off, static_cast<size_t>(n) - kVnet);
    d.head = static_cast<int32_t>(buffer);
    d.end = static_cast<int32_t>(buffer + LargeBuffers::kBytes);
    d.flags = vnet.flags | vnet.gso_type << 8;
    d.gso = static_cast<int32_t>(vnet.gso_size | static_cast<uint32_t>(vnet.hdr_len) << 16);
    d.csum = static_cast<int32_t>(vnet.csum_start | static_cast<uint32_t>(vnet.csum_offset) << 16);
  }
  return count;
}

void TapPort::Parse(RxDescriptor& d, VnetHeader& vnet, size_t off, size_t length) {
  uint8_t* frame = arena_.data() + off;
  uint16_t protocol;
  d.vlan = 0;
  if (l3_) {
    protocol = frame[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP;
  } else {
    protocol = Load16(frame + 12);
    if ((protocol == ETH_P_8021Q || protocol == ETH_P_8021AD) && length >= ETH_HLEN + kTag) {
      // The host sent a tagged frame with the tag out of band; the TAP device has put it in, so take it out again.
      d.vlan = static_cast<int32_t>(Load16(frame + 14) | static_cast<uint32_t>(protocol) << 16);
      memmove(frame + kTag, frame, 2 * ETH_ALEN);
      off += kTag;
      length -= kTag;
      protocol = Load16(frame + 16);
      if (vnet.flags & kVnetNeedsCsum) vnet.csum_start = static_cast<uint16_t>(vnet.csum_start - kTag);
      if (vnet.hdr_len >= kTag) vnet.hdr_len = static_cast<uint16_t>(vnet.hdr_len - kTag);
    }
  }
  d.off = static_cast<int32_t>(off);
  d.len = static_cast<int32_t>(length);
  d.protocol = protocol;
}

void TapPort::Send(iovec* iov, size_t count, const TxDescriptor&) {
  // EIO: the device is down. EAGAIN: no memory for it.
  ssize_t n;
  do n = writev(fd_.get(), iov, static_cast<int>(count));
  while (n < 0 && errno == EINTR);
  if (n >= 0) return;
  if (errno == EINVAL) counters_.tx_errors++;
  else counters_.tx_dropped++;
}

// A deleted device leaves the descriptor in error for good.
bool TapPort::ClearError() { return !CurrentName().empty(); }

std::string TapPort::CurrentName() const {
  ifreq ifr{};
  return ioctl(fd_.get(), TUNGETIFF, &ifr) == 0 ? ifr.ifr_name : "";
}

bool TapPort::Locate(RouteSocket& route, Place& place) const {
  place.name = CurrentName();
  if (place.name.empty()) return false;
  place.nsid = route.NamespaceId(Namespace());
  return true;
}

Fd TapPort::Namespace() const { return Fd(Check(ioctl(fd_.get(), TUNGETDEVNETNS, 0), "TUNGETDEVNETNS")); }

}  // namespace nokmod
