// Arguments: what stands behind the name of a command.
//
//   --over 5m, --over=5m    a value          --wait    a switch
//   src=10.0.0.0/8          a condition      app/a     a word of its own
//   idle>5s                 at least so much
//
// Each is taken by who knows it; what is left at the end is one too many. The first thing that is
// wrong is kept, as a sentence for the client.
//
// A value of one command.
#ifndef PROXY_ADMIN_ARGUMENTS_H_
#define PROXY_ADMIN_ARGUMENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace parkway::admin {

class Arguments {
 public:
  explicit Arguments(std::vector<std::string_view> words) : words_(std::move(words)) {}

  // --NAME was given.
  bool Switch(std::string_view name);
  // The value of --NAME.
  std::optional<std::string_view> Value(std::string_view name);
  std::optional<absl::Duration> Time(std::string_view name);
  // The value of NAME=.
  std::optional<std::string_view> Condition(std::string_view name) { return Behind(name, "="); }
  // The value of NAME>.
  std::optional<std::string_view> Above(std::string_view name) { return Behind(name, ">"); }
  // The next word that is neither of these; `what` it is to be, if there is none.
  std::string_view Word(std::string_view what);
  std::optional<std::string_view> OptionalWord();
  uint64_t Number(std::string_view what, uint64_t most);

  struct ServerName {
    std::string upstream;
    std::string server;
  };
  // The next word: UPSTREAM/SERVER.
  ServerName Server();
  // The same of a text; nothing, and wrong() says why, if it is none. A server's name may have a
  // slash of its own.
  std::optional<ServerName> SplitServer(std::string_view text);

  // All that is left, as one text.
  std::string Rest();

  // Whatever was not taken is wrong. Empty: nothing is.
  const std::string& Wrong();
  void SetWrong(std::string why);

 private:
  std::optional<std::string_view> Behind(std::string_view name, std::string_view sign);

  std::vector<std::string_view> words_;
  std::string wrong_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_ARGUMENTS_H_
