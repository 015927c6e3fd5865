// nokmod-seccomp PROGRAM [ARGUMENT …]: runs a program that makes its system calls itself (a static one, one written in Go)
// so that its netlink sockets are those of nokmod's server: docs/transport.md, "Static programs".
//
//   front ── supervisor ── PROGRAM ── its children
//
// The front is what the caller waits for: it ends as PROGRAM ends. The supervisor stays as long as any process is left
// that PROGRAM has started, a daemon for example: without it their calls would fail.

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "../src/sys.h"
#include "filter.h"
#include "supervisor.h"

namespace {

using nokmod::Check;
using nokmod::Fd;

/// Exit codes of a shell: the command was found but would not start; it was not found.
constexpr int kCannotStart = 126, kNotFound = 127;
/// Descriptors of netlink sockets start here where the limit allows: above what most programs use, below what select()
/// can name.
constexpr int kBase = 600, kSelectEnd = 1024;
/// Signals that somebody may send to the front in order to reach the program.
constexpr int kForwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT};

void Warn(const char* what) { dprintf(STDERR_FILENO, "nokmod: %s\n", what); }

/// A message of the supervisor to the front.
struct Report {
  enum Kind : int { kStarted, kEnded } kind;
  /// The program's process id; its wait status.
  int value;
  /// Of kEnded: the supervisor ends too, nobody is left.
  bool last;
};

/// Raises the limit of open files to what select() can name. Returns the lowest number for netlink sockets.
int MakeRoom() {
  rlimit limit{};
  Check(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  if (limit.rlim_cur < kSelectEnd) {
    limit.rlim_cur = limit.rlim_max < kSelectEnd ? limit.rlim_max : kSelectEnd;
    Check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  }
  return limit.rlim_cur < kSelectEnd ? static_cast<int>(limit.rlim_cur / 4 * 3) : kBase;
}

[[noreturn]] void RunProgram(char** command, int base, int report, const sigset_t& signals) {
  const int listener = nokmod::InstallFilter(base);
  int go = 0;
  const bool reported = write(report, &listener, sizeof listener) == sizeof listener;
  if (listener < 0 || !reported || read(report, &go, sizeof go) != sizeof go) _exit(kCannotStart);
  if (sigprocmask(SIG_SETMASK, &signals, nullptr) != 0) _exit(kCannotStart);
  execvp(command[0], command);
  const int error = errno;
  dprintf(STDERR_FILENO, "nokmod: %s: %s\n", command[0], error == ENOENT ? "command not found" : strerror(error));
  _exit(error == ENOENT ? kNotFound : kCannotStart);
}

const char* WhyNoFilter(int error) {
  switch (error) {
    case EBUSY:
      return "its system calls are supervised already";
    case EINVAL:
    case ENOSYS:
      return "the kernel has no seccomp user notification (it takes Linux 5.19)";
    default:
      return strerror(error);
  }
}

/// The supervisor process. It reports to the front by `reports`; its exit code does not matter.
void Supervise(char** command, Fd reports, const sigset_t& signals) {
  const int base = MakeRoom();
  int pair[2];
  Check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
  Fd near(pair[0]), far(pair[1]);
  const pid_t program = Check(fork(), "fork");
  if (program == 0) {
    near.Reset();
    RunProgram(command, base, far.get(), signals);
  }
  far.Reset();
  const Report started{Report::kStarted, program, false};
  Check(write(reports.get(), &started, sizeof started), "write");

  const auto end = [&](int status, bool last) {
    const Report ended{Report::kEnded, status, last};
    Check(write(reports.get(), &ended, sizeof ended), "write");
    reports.Reset();
  };
  int number = 0;
  if (read(near.get(), &number, sizeof number) != sizeof number || number < 0) {
    Warn(("cannot supervise the program: " + std::string(WhyNoFilter(-number))).c_str());
    end(kCannotStart << 8, true);
    return;
  }
  const Fd handle(Check(static_cast<int>(syscall(SYS_pidfd_open, program, 0)), "pidfd_open"));
  Fd listener(Check(static_cast<int>(syscall(SYS_pidfd_getfd, handle.get(), number, 0)), "pidfd_getfd"));

  // A session of its own: signals typed at the terminal are for the program. Orphans of it become our children, so that we
  // may look into them where only ancestors may (Yama).
  Check(setsid(), "setsid");
  if (geteuid() != 0) Check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER");
  const Fd nowhere(Check(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null"));
  Check(dup2(nowhere.get(), STDIN_FILENO), "dup2");
  Check(dup2(nowhere.get(), STDOUT_FILENO), "dup2");
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    Check(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  }

  nokmod::Supervisor supervisor(std::move(listener), base, Warn);
  const auto reap = [&](int options) {
    int status;
    pid_t ended;
    while ((ended = waitpid(-1, &status, options)) > 0) {
      if (ended == program) end(status, supervisor.HasNoTasks());
    }
  };
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  const Fd children(Check(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
  supervisor.Watch(children.get(), [&] {
    signalfd_siginfo info;
    while (read(children.get(), &info, sizeof info) > 0) continue;
    reap(WNOHANG);
    // Processes that outlive the program outlive the front too, and the reader of its stderr.
    if (!reports) Check(dup2(nowhere.get(), STDERR_FILENO), "dup2");
  });
  const int go = 1;
  Check(write(near.get(), &go, sizeof go), "write");
  near.Reset();
  supervisor.Run();
  reap(0);
}

/// Waits for the program's end and passes signals on. A wait status.
int Front(int reports, pid_t supervisor, const sigset_t& forwarded) {
  const Fd signals(Check(signalfd(-1, &forwarded, SFD_CLOEXEC), "signalfd"));
  Fd program;
  pollfd sources[2] = {{reports, POLLIN, 0}, {signals.get(), POLLIN, 0}};
  for (;;) {
    if (poll(sources, 2, -1) < 0 && errno != EINTR) nokmod::Throw(errno, "poll");
    if (sources[0].revents != 0) {
      Report report;
      const ssize_t length = read(reports, &report, sizeof report);
      if (length != sizeof report) {
        Warn("the supervisor has died; what the program left running lost its sockets");
        return kCannotStart << 8;
      }
      if (report.kind == Report::kEnded) {
        if (report.last) waitpid(supervisor, nullptr, 0);
        return report.value;
      }
      program = Fd(static_cast<int>(syscall(SYS_pidfd_open, report.value, 0)));
    } else if (sources[1].revents != 0) {
      signalfd_siginfo info;
      if (read(signals.get(), &info, sizeof info) != sizeof info) continue;
      // One that was typed at the terminal has reached the program by itself.
      if (info.ssi_code == SI_KERNEL || !program) continue;
      syscall(SYS_pidfd_send_signal, program.get(), info.ssi_signo, nullptr, 0);
    }
  }
}

int EndAs(int status) {
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
  const int number = WTERMSIG(status);
  const rlimit none{};
  setrlimit(RLIMIT_CORE, &none);
  signal(number, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, number);
  raise(number);
  sigprocmask(SIG_UNBLOCK, &only, nullptr);
  return 128 + number;
}

int Run(char** command) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  for (const int number : kForwarded) sigaddset(&blocked, number);
  sigset_t forwarded = blocked;
  sigaddset(&blocked, SIGCHLD);
  Check(sigprocmask(SIG_BLOCK, &blocked, &before), "sigprocmask");
  int pair[2];
  Check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
  Fd near(pair[0]), far(pair[1]);
  const pid_t supervisor = Check(fork(), "fork");
  if (supervisor == 0) {
    near.Reset();
    Supervise(command, std::move(far), before);
    _exit(0);
  }
  far.Reset();
  return EndAs(Front(near.get(), supervisor, forwarded));
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    Warn("usage: nokmod-seccomp PROGRAM [ARGUMENT...]");
    return 2;
  }
  try {
    return Run(arguments + 1);
  } catch (const std::exception& error) {
    Warn(error.what());
    return kCannotStart;
  }
}
