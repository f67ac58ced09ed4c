// Identity: who the process is to the machine: the user it runs as, and the file with its number.
// For where no service manager sees to both.
//
// Main thread; BecomeUser: before there are others.
#ifndef PROXY_SYSTEM_IDENTITY_H_
#define PROXY_SYSTEM_IDENTITY_H_

#include <string>

namespace parkway {

// USER or USER:GROUP, each a name or a number; without GROUP the user's own, and those that it is
// a member of. Privileges end with it, cores do not. Empty, or one line about why not.
std::string BecomeUser(const std::string& text);

// A file that holds the number of this process until it ends.
class PidFile {
 public:
  PidFile() = default;
  // Removes it.
  ~PidFile();
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;

  // Empty, or one line about why not.
  std::string Write(const std::string& path);
  // Who may not (it was made before BecomeUser) leaves it empty.
  void Remove();

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace parkway

#endif  // PROXY_SYSTEM_IDENTITY_H_
