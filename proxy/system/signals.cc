#include "proxy/system/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace parkway {

namespace {

constexpr int kTaken[] = {SIGTERM, SIGINT,   SIGQUIT, SIGHUP, SIGUSR1,
                          SIGUSR2, SIGWINCH, SIGTTIN, SIGTTOU};

}  // namespace

void Signals::BlockAll() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t all;
  sigfillset(&all);
  for (const int fatal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) {
    sigdelset(&all, fatal);
  }
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

Signals::~Signals() {
  if (fd_ >= 0) close(fd_);
}

int Signals::Start(Scheduler& scheduler) {
  sigset_t taken;
  sigemptyset(&taken);
  for (const int number : kTaken) sigaddset(&taken, number);
  fd_ = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd_ < 0) return -errno;
  int error = 0;
  desc_ = scheduler.netpoll().Open(fd_, nullptr, &error);
  if (desc_ == nullptr) return error;
  scheduler_ = &scheduler;
  scheduler.Spawn(*this);
  return 0;
}

void Signals::Stop() {
  if (desc_ != nullptr) scheduler_->Evict(*desc_);
}

Next Signals::Run(Scheduler& scheduler, Wake wake) noexcept {
  while (wake != Wake::kClosing) {
    signalfd_siginfo info;
    const ssize_t size = read(fd_, &info, sizeof(info));
    if (size != sizeof(info)) return Next::AwaitReadable(*desc_);
    handler_(static_cast<int>(info.ssi_signo));
  }
  scheduler.Close(*desc_);
  desc_ = nullptr;
  return Next::Done();
}

bool HasTerminal() {
  const int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return false;
  close(fd);
  return true;
}

}  // namespace parkway
