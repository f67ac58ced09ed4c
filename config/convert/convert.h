// parkway convert haproxy|nginx|rinetd FILE: the configuration of another proxy as a flags file,
// with a comment for each thing that could not be carried over.
//
// Never binds, connects or resolves. At start, on one thread.
#ifndef CONFIG_CONVERT_CONVERT_H_
#define CONFIG_CONVERT_CONVERT_H_

#include <string>
#include <vector>

#include "config/file_reader.h"
#include "config/snapshot.h"

namespace parkway::config::convert {

struct Result {
  int exit_code;      // 0: all was carried over; 1: there are comments; 2: no such use
  std::string text;   // for the standard output
  std::string error;  // one line for stderr, or empty
};

// `arguments`: those behind "convert".
Result Convert(const std::vector<std::string>& arguments, const SystemFacts& facts,
               FileReader& files);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_CONVERT_H_
