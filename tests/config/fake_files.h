// FakeFiles: flags files in memory.
#ifndef TESTS_CONFIG_FAKE_FILES_H_
#define TESTS_CONFIG_FAKE_FILES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "config/file_reader.h"

namespace parkway::config {

class FakeFiles : public FileReader {
 public:
  FakeFiles() = default;
  explicit FakeFiles(std::map<std::string, std::string> files) : files_(std::move(files)) {}

  void Put(const std::string& path, const std::string& bytes) { files_[path] = bytes; }

  // A path that ends with a slash is a directory; "./" before a name is another name of the same.
  absl::StatusOr<File> Read(const std::string& path) override {
    reads.push_back(path);
    const std::string plain = path.rfind("./", 0) == 0 ? path.substr(2) : path;
    if (files_.count(plain + "/") != 0) return absl::InvalidArgumentError("it is a directory");
    const auto file = files_.find(plain);
    if (file == files_.end()) return absl::NotFoundError("No such file or directory");
    return File{plain, file->second};
  }

  // PREFIX*SUFFIX only.
  absl::StatusOr<std::vector<std::string>> Match(const std::string& pattern) override {
    if (pattern.find("locked") != std::string::npos) {
      return absl::UnavailableError("its folder cannot be read");
    }
    const size_t star = pattern.find('*');
    const std::string prefix = pattern.substr(0, star);
    const std::string suffix = pattern.substr(star + 1);
    std::vector<std::string> names;
    for (const auto& [name, bytes] : files_) {
      if (name.size() >= prefix.size() + suffix.size() && name.rfind(prefix, 0) == 0 &&
          name.substr(name.size() - suffix.size()) == suffix) {
        names.push_back(name);
      }
    }
    return names;
  }

  std::vector<std::string> reads;

 private:
  std::map<std::string, std::string> files_;
};

}  // namespace parkway::config

#endif  // TESTS_CONFIG_FAKE_FILES_H_
