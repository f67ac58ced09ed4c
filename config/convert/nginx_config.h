// nginx.conf as blocks and directives, with what it includes, before anything is said in our
// language.
//
// One conversion, one thread.
#ifndef CONFIG_CONVERT_NGINX_CONFIG_H_
#define CONFIG_CONVERT_NGINX_CONFIG_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "config/convert/model.h"
#include "config/file_reader.h"

namespace parkway::config::convert {

struct NginxDirective {
  Origin origin;
  std::vector<std::string> words;
  bool is_block = false;
  std::vector<NginxDirective> inside;
};
using NginxBlock = std::vector<NginxDirective>;

// What a server block has, or has from the stream block.
struct NginxSettings {
  std::map<std::string, NginxDirective> single;
  std::vector<NginxDirective> access;
  std::vector<NginxDirective> limits;
  std::vector<NginxDirective> trusted;
};

// The one word of the directive `name`; empty if there is none.
std::string ValueOf(const NginxSettings& settings, const std::string& name);

// What could not be read is noted in `model`.
NginxBlock ParseNginx(const std::string& path, std::string_view bytes, FileReader& files,
                      Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_NGINX_CONFIG_H_
