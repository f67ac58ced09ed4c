// Upstreams of nginx, and the addresses that a proxy_pass names, in our language.
//
// What nginx says of a server that goes to an upstream (its timeouts, its resolver) we say of the
// upstream: one that is reached in two ways becomes two. One conversion, one thread.
#ifndef CONFIG_CONVERT_NGINX_UPSTREAMS_H_
#define CONFIG_CONVERT_NGINX_UPSTREAMS_H_

#include <map>
#include <string>

#include "config/convert/model.h"
#include "config/convert/nginx_config.h"

namespace parkway::config::convert {

class NginxUpstreams {
 public:
  explicit NginxUpstreams(Model* model) : model_(model) {}

  // An upstream block.
  void Add(const NginxDirective& block) { upstreams_[block.words[1]].directive = block; }

  // Our name of `target` as a server with `settings` reaches it; writes it if it is new.
  std::string NameOf(const std::string& target, const NginxSettings& settings,
                     const Origin& origin);

  void NoteUnused() const;

 private:
  struct Upstream {
    NginxDirective directive;
    // How servers reach it: one line of ours for each way.
    std::map<std::string, std::string> ways;
  };

  void Note(const NginxDirective& d);
  void WriteUpstream(const NginxDirective& block, const std::string& ours, Line* line);
  void WriteServer(const NginxDirective& d, const std::string& ours);

  Model* const model_;
  std::map<std::string, Upstream> upstreams_;
  std::map<std::string, std::map<std::string, std::string>> literals_;  // an address: the ways
  Names names_;
};

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_NGINX_UPSTREAMS_H_
