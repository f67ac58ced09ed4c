#include "proxy/system/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace parkway {

bool IsJournal(int fd) {
  const char* stream = getenv("JOURNAL_STREAM");
  uint64_t device = 0, inode = 0;
  struct stat info;
  return stream != nullptr && sscanf(stream, "%" SCNu64 ":%" SCNu64, &device, &inode) == 2 &&
         fstat(fd, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

std::string JournalLine(std::string_view line) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"ERROR: ", "<3>"}, {"WARNING: ", "<4>"}, {"NOTICE: ", "<5>"}};
  for (const auto& [word, priority] : kWords) {
    if (!line.starts_with(word)) continue;
    return std::string(priority).append(line.substr(word.size()));
  }
  return std::string("<6>").append(line);
}

JournalEntry::JournalEntry(std::string_view line) {
  std::string_view priority = "6";
  if (line.size() >= 3 && line[0] == '<' && line[2] == '>') {
    priority = line.substr(1, 1);
    line.remove_prefix(3);
  }
  Add("MESSAGE", line);
  Add("PRIORITY", priority);
  Add("SYSLOG_IDENTIFIER", "parkway");
}

void JournalEntry::Add(std::string_view name, std::string_view value) {
  bytes_.append(name);
  if (value.find('\n') == std::string_view::npos) {
    bytes_.append("=").append(value).append("\n");
    return;
  }
  // Its length in 64 bits, the least first.
  bytes_.push_back('\n');
  for (int shift = 0; shift < 64; shift += 8) {
    bytes_.push_back(static_cast<char>(uint64_t{value.size()} >> shift & 0xff));
  }
  bytes_.append(value).append("\n");
}

JournalSocket::~JournalSocket() {
  if (fd_ >= 0) close(fd_);
}

bool JournalSocket::Send(const JournalEntry& entry) {
  if (fd_ < 0) fd_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un to = {};
  if (fd_ < 0 || path_.size() >= sizeof(to.sun_path)) return false;
  to.sun_family = AF_UNIX;
  memcpy(to.sun_path, path_.data(), path_.size());
  // By its name each time: the journal may have been started again.
  for (;;) {
    const ssize_t sent = sendto(fd_, entry.bytes().data(), entry.bytes().size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    if (sent >= 0 || errno != EINTR) return sent >= 0;
  }
}

}  // namespace parkway
