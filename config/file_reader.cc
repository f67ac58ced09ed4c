#include "config/file_reader.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "config/text.h"

namespace parkway::config {
namespace {

// For the next bytes of a pipe, or a terminal.
constexpr int kPipePatienceMs = 5000;

absl::Status Failed(int error) { return absl::UnavailableError(std::strerror(error)); }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

}  // namespace

absl::StatusOr<FileReader::File> DiskFileReader::Read(const std::string& path) {
  // To open a pipe that nobody writes into would take until somebody does.
  const Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (fd.get() < 0) return Failed(errno);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return Failed(errno);
  if (S_ISDIR(status.st_mode)) return absl::InvalidArgumentError("it is a directory");
  File file;
  file.identity = Cat(status.st_dev, ":", status.st_ino);
  char piece[4096];
  for (;;) {
    const ssize_t n = read(fd.get(), piece, sizeof(piece));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd more = {fd.get(), POLLIN, 0};
      if (poll(&more, 1, kPipePatienceMs) != 0) continue;
      return absl::UnavailableError("who writes it has said nothing for 5 s, and no end");
    }
    if (n < 0) return Failed(errno);
    if (n == 0 && file.bytes.empty() && S_ISFIFO(status.st_mode)) {
      return absl::UnavailableError("it is a pipe, and nobody has written into it");
    }
    if (n == 0) return file;
    file.bytes.append(piece, static_cast<size_t>(n));
    if (file.bytes.size() > kMostBytes) {
      return absl::InvalidArgumentError(Cat("it is larger than ", kMostBytes >> 20, "MiB"));
    }
  }
}

absl::StatusOr<std::vector<std::string>> DiskFileReader::Match(const std::string& pattern) {
  glob_t found = {};
  std::vector<std::string> names;
  const int error = glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  if (error == 0) names.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  // A folder that is not there matches nothing; one that may not be read is told.
  if (error == 0 || error == GLOB_NOMATCH || errno == ENOENT) return names;
  if (error == GLOB_NOSPACE) return Failed(ENOMEM);
  return absl::UnavailableError("its folder cannot be read");
}

}  // namespace parkway::config
