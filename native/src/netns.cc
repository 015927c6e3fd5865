// Network namespaces: run a piece of JavaScript inside one.

#include <fcntl.h>
#include <napi.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "sys.h"
#include "system_error.h"

namespace {

using nokmod::Fd;

// A namespace belongs to the thread, not to the process.
constexpr const char* kOwnNetns = "/proc/thread-self/ns/net";

/// Goes back to a namespace at the end of a block, by whatever way the block is left.
class Return {
 public:
  explicit Return(int home) : home_(home) {}
  Return(const Return&) = delete;
  Return& operator=(const Return&) = delete;
  ~Return() {
    // A thread lost in a foreign namespace would open every later device in the wrong place.
    if (setns(home_, CLONE_NEWNET) != 0) Napi::Error::Fatal("withNetns", "cannot return to the network namespace");
  }

 private:
  int home_;
};

/// withNetns(path: string, callback: () => T): T
Napi::Value WithNetns(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>();
  const Napi::Function callback = info[1].As<Napi::Function>();
  const Fd home(open(kOwnNetns, O_RDONLY | O_CLOEXEC));
  if (home.get() < 0) throw SystemError(env, errno, kOwnNetns);
  const Fd target(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (target.get() < 0) throw SystemError(env, errno, path);
  if (setns(target.get(), CLONE_NEWNET) != 0) throw SystemError(env, errno, "setns " + path);
  const Return back(home.get());
  return callback.Call({});
}

/// netnsInode(path?: string): number. The inode number is the namespace's identity (ioctl_ns(2)).
Napi::Value NetnsInode(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : kOwnNetns;
  struct stat status;
  if (stat(path.c_str(), &status) != 0) throw SystemError(env, errno, path);
  return Napi::Number::New(env, static_cast<double>(status.st_ino));
}

}  // namespace

void InitNetns(Napi::Env env, Napi::Object exports) {
  exports.Set("withNetns", Napi::Function::New(env, WithNetns, "withNetns"));
  exports.Set("netnsInode", Napi::Function::New(env, NetnsInode, "netnsInode"));
}
