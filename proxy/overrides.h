// Overrides: what an operator changed at run time of the servers of a configuration: weight, state,
// max_conns, servers added and removed.
//
// Each holds until the file says something else of the same key than it said when it was changed:
// then the file counts again. So a reload of an unchanged file changes nothing, and the next edit
// of a value is not lost.
//
//   std::string wrong = overrides.SetWeight(upstream, "a", 0);   // empty: done
//   overrides.Apply(upstream, servers);                          // what stands in the file,
//   changed next = overrides.After(snapshot);                            // those that hold under a
//   new file
//
// A name whose addresses are servers of their own stands for all of them: the later word counts, be
// it of the name or of one address.
//
// A value; the control thread's.
#ifndef PROXY_OVERRIDES_H_
#define PROXY_OVERRIDES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/snapshot.h"

namespace parkway {

class Overrides {
 public:
  // `upstream`: as in the file. All return what is wrong, or nothing, and then it is changed.
  // `members`: the servers that stand behind it now, for those that no line of the file names.
  using Members = std::vector<config::Server>;
  std::string SetState(const config::Upstream& upstream, const Members& members,
                       const std::string& server, config::ServerState state);
  std::string SetWeight(const config::Upstream& upstream, const Members& members,
                        const std::string& server, uint32_t weight);
  std::string SetMaxConns(const config::Upstream& upstream, const Members& members,
                          const std::string& server, uint32_t most);
  // `words` as behind --server=; an address, not a name.
  std::string Add(const config::Upstream& upstream, const Members& members, std::string_view words);
  std::string Remove(const config::Upstream& upstream, const Members& members,
                     const std::string& server);

  // `servers` of `upstream` as the file has them: as they are to be.
  void Apply(const config::Upstream& upstream, Members& servers) const;

  Overrides After(const config::Snapshot& snapshot) const;
  bool empty() const { return servers_.empty(); }
  // "server app/a weight=0 (file: 1)", in the order of the names.
  std::vector<std::string> Lines() const;

  bool operator==(const Overrides&) const = default;

 private:
  // A value that was changed, and what the file said then.
  template <typename Value>
  struct Changed {
    Value value;
    std::optional<Value> file;  // nothing: no line of the file names the server, or its name
    bool operator==(const Changed&) const = default;
  };
  struct OfServer {
    std::optional<Changed<config::ServerState>> state;
    std::optional<Changed<uint32_t>> weight;
    std::optional<Changed<uint32_t>> max_conns;
    std::optional<std::string> added;    // the words of its line
    std::optional<std::string> removed;  // its address in the file

    bool operator==(const OfServer&) const = default;
    bool empty() const { return !state && !weight && !max_conns && !added && !removed; }
  };
  using Key = std::pair<std::string, std::string>;  // upstream, server

  template <typename Value>
  std::string Set(const config::Upstream& upstream, const Members& members,
                  const std::string& server, std::optional<Changed<Value>> OfServer::*key,
                  Value config::Scalars::*field, Value value);

  template <typename Value>
  void ForgetOfMembers(const config::Upstream& upstream, const std::string& name,
                       std::optional<Changed<Value>> OfServer::*key);

  std::map<Key, OfServer> servers_;
};

}  // namespace parkway

#endif  // PROXY_OVERRIDES_H_
