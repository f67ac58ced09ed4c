// FileReader: how the loader reads flags files, so that a test needs no disk.
//
// Owner's thread only.
#ifndef CONFIG_FILE_READER_H_
#define CONFIG_FILE_READER_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace parkway::config {

class FileReader {
 public:
  // A flags file above this size is a mistake.
  static constexpr size_t kMostBytes = size_t{64} << 20;

  struct File {
    std::string identity;  // the same for the same file by whatever name
    std::string bytes;
  };

  virtual ~FileReader() = default;

  // An error's message is the reason alone: "it is a directory", "No such file or directory".
  virtual absl::StatusOr<File> Read(const std::string& path) = 0;
  // The names that match a shell pattern, sorted; none is fine. The message as above.
  virtual absl::StatusOr<std::vector<std::string>> Match(const std::string& pattern) = 0;
};

// The files of this machine.
class DiskFileReader : public FileReader {
 public:
  absl::StatusOr<File> Read(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> Match(const std::string& pattern) override;
};

}  // namespace parkway::config

#endif  // CONFIG_FILE_READER_H_
