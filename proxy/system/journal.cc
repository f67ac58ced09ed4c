#include "proxy/system/journal.h"

#include <sys/stat.h>

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

}  // namespace parkway
