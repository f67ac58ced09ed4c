#include "proxy/system/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proxy/system/owner.h"

namespace parkway {

std::string BecomeUser(const std::string& text) {
  const auto refused = [&text](const char* what, int error) {
    return absl::StrCat("--user=", text, ": ", what, ": ", strerror(error),
                        error == EPERM ? "; only root can become somebody else" : "");
  };
  std::optional<Owner> owner = FindOwner(text);
  if (!owner.has_value()) {
    return absl::StrCat("--user=", text, ": there is no such user or group here");
  }
  const passwd* known = getpwuid(owner->user);
  if (owner->group == static_cast<gid_t>(-1)) {
    if (known == nullptr) {
      return absl::StrCat("--user=", text, ": a number that is no user's has no group; write ",
                          "USER:GROUP");
    }
    owner->group = known->pw_gid;
  }
  if (owner->user == geteuid() && owner->group == getegid()) return "";
  const int groups =
      known == nullptr ? setgroups(0, nullptr) : initgroups(known->pw_name, owner->group);
  if (groups != 0) return refused("groups", errno);
  if (setresgid(owner->group, owner->group, owner->group) != 0) return refused("group", errno);
  if (setresuid(owner->user, owner->user, owner->user) != 0) return refused("user", errno);
  // Becoming somebody else has switched cores off.
  prctl(PR_SET_DUMPABLE, 1);
  return "";
}

PidFile::~PidFile() { Remove(); }

void PidFile::Remove() {
  if (fd_ < 0) return;
  if (unlink(path_.c_str()) != 0 && ftruncate(fd_, 0) != 0) {
    // It names a process that is no more; nobody can help it.
  }
  close(std::exchange(fd_, -1));
}

std::string PidFile::Write(const std::string& path) {
  path_ = path;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  const std::string line = absl::StrCat(getpid(), "\n");
  if (fd_ >= 0 && write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) {
    return "";
  }
  return absl::StrCat("--pidfile=", path, ": cannot be written: ", strerror(errno));
}

}  // namespace parkway
