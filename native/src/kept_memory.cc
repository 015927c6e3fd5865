// Memory that lies in a file: what a process wrote to it is there after the process was killed.

#include <fcntl.h>
#include <napi.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "sys.h"
#include "system_error.h"

namespace {

using nokmod::Check;
using nokmod::Fd;
using nokmod::Throw;

constexpr size_t kPage = 4096;
constexpr mode_t kMode = 0600;

// An address range, without access at first. Its lower part is mapped as it is used.
//
//  0                  kept                used               size
//  | pages of a file  | anonymous pages   | not accessible   |
class Range {
 public:
  explicit Range(size_t size) : size_(size) {
    void* p = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) Throw(errno, "mmap");
    data_ = static_cast<uint8_t*>(p);
    madvise(data_, size_, MADV_DONTDUMP);
  }
  ~Range() { munmap(data_, size_); }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Maps bytes of a file. Blocks must have been allocated for them: a store to a hole of a full disk is a SIGBUS.
  void MapFile(const Fd& file, size_t offset, size_t bytes) { Map(offset, bytes, MAP_SHARED, file.get()); }
  void MapAnonymous(size_t offset, size_t bytes) {
    Map(offset, bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  }

 private:
  void Map(size_t offset, size_t bytes, int flags, int fd) {
    if (bytes == 0) return;
    if (offset > size_ || bytes > size_ - offset) Throw(ENOMEM, "the reserved range is used up");
    const auto at = fd < 0 ? 0 : static_cast<off_t>(offset);
    if (mmap(data_ + offset, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, at) == MAP_FAILED)
      Throw(errno, "mmap");
  }

  const size_t size_;
  uint8_t* data_;
};

// Opens or makes a regular file of this user that no other process has locked.
Fd OpenOwn(const std::string& path) {
  Fd file(Check(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kMode), "open"));
  struct stat status {};
  Check(fstat(file.get(), &status), "fstat");
  if (!S_ISREG(status.st_mode)) Throw(EINVAL, "not a regular file");
  if (status.st_uid != geteuid()) Throw(EPERM, "a file of another user");
  Check(flock(file.get(), LOCK_EX | LOCK_NB), "flock");
  return file;
}

// new KeptMemory(path: string, size: number): `size` bytes of addresses. Properties:
//   buffer: ArrayBuffer of them; only the first `length` bytes may be touched
//   length: usable bytes; those of the file at first, a multiple of the page size
class KeptMemory : public Napi::ObjectWrap<KeptMemory> {
 public:
  static void Init(Napi::Env env, Napi::Object exports) {
    exports.Set("KeptMemory", DefineClass(env, "KeptMemory",
                                          {
                                              InstanceMethod<&KeptMemory::Extend>("extend"),
                                              InstanceMethod<&KeptMemory::Close>("close"),
                                              InstanceAccessor<&KeptMemory::Length>("length"),
                                          }));
  }

  explicit KeptMemory(const Napi::CallbackInfo& info) try
      : Napi::ObjectWrap<KeptMemory>(info), path_(info[0].As<Napi::String>()) {
    const auto size = static_cast<size_t>(info[1].ToNumber().Int64Value());
    file_ = OpenOwn(path_);
    struct stat status {};
    Check(fstat(file_.get(), &status), "fstat");
    // Bytes beyond the last whole page were never given out.
    const size_t length = static_cast<size_t>(status.st_size) / kPage * kPage;
    range_ = std::make_shared<Range>(size);
    if (length > size) Throw(EFBIG, "more bytes than the range has");
    if (length > 0) Allocate(0, length);
    range_->MapFile(file_, 0, length);
    length_ = length;
    auto* shared = new std::shared_ptr<Range>(range_);
    // The buffer may outlive this object: each holds the range.
    info.This().As<Napi::Object>().Set(
        "buffer", Napi::ArrayBuffer::New(
                      info.Env(), range_->data(), range_->size(),
                      [](Napi::Env, void*, std::shared_ptr<Range>* range) { delete range; }, shared));
  } catch (const std::system_error& error) {
    throw SystemError(info.Env(), error.code().value(), info[0].As<Napi::String>().Utf8Value());
  }

 private:
  // extend(bytes): makes that many more bytes usable, zeroed; a multiple of the page size. Returns 0, or the errno for which
  // these and all later ones are not in the file.
  Napi::Value Extend(const Napi::CallbackInfo& info) {
    const auto bytes = static_cast<size_t>(info[0].ToNumber().Int64Value());
    try {
      if (failure_ == 0) {
        Allocate(length_, bytes);
        range_->MapFile(file_, length_, bytes);
      }
    } catch (const std::system_error& error) {
      failure_ = error.code().value();
    }
    try {
      if (failure_ != 0) range_->MapAnonymous(length_, bytes);
    } catch (const std::system_error& error) {
      throw SystemError(info.Env(), error.code().value(), error.what());
    }
    length_ += bytes;
    return Napi::Number::New(info.Env(), failure_);
  }

  // close(remove: boolean): closes the file, and removes it if asked. The buffer stays usable.
  Napi::Value Close(const Napi::CallbackInfo& info) {
    failure_ = EBADF;
    // The mapping would hold the lock as long as the buffer is there.
    if (file_ && flock(file_.get(), LOCK_UN) != 0) nokmod::ReportError("flock " + path_, errno);
    file_.Reset();
    if (info[0].ToBoolean() && unlink(path_.c_str()) != 0 && errno != ENOENT)
      throw SystemError(info.Env(), errno, "unlink " + path_);
    return info.Env().Undefined();
  }

  Napi::Value Length(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(length_));
  }

  void Allocate(size_t offset, size_t bytes) {
    const int error = posix_fallocate(file_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes));
    if (error != 0) Throw(error, "posix_fallocate");
  }

  const std::string path_;
  Fd file_;
  std::shared_ptr<Range> range_;
  size_t length_ = 0;
  // errno since which nothing is added to the file: what comes behind a gap cannot be in it.
  int failure_ = 0;
};

}  // namespace

void InitKeptMemory(Napi::Env env, Napi::Object exports) { KeptMemory::Init(env, exports); }
