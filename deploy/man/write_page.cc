// Writes a man page from its template:
//
//   write_page TEMPLATE PAGE
#include <cstdio>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "deploy/man/pages.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: write_page TEMPLATE PAGE\n");
    return 2;
  }
  std::ifstream file(argv[1]);
  std::ostringstream text;
  text << file.rdbuf();
  const std::optional<std::string> page = parkway::Fill(text.str());
  if (!file.good() || !page.has_value()) {
    fprintf(stderr, "write_page: %s: %s\n", argv[1],
            file.good() ? "it has a marker that is not known" : "cannot be read");
    return 1;
  }
  std::ofstream out(argv[2]);
  out << *page;
  out.close();
  if (out.good()) return 0;
  fprintf(stderr, "write_page: cannot write %s\n", argv[2]);
  return 1;
}
