// What a converter says in our language: listeners, upstreams, servers, routes and scalars as
// lines, with a note for each thing that it could not carry over.
//
// Print() asks the loader itself what it understands: what it refuses becomes a note too, so the
// text that comes out is one that `parkway --check` of the same binary accepts, whenever anything
// is left to listen on. A word whose loss would let in or on what was kept out (`deny`, `backup`,
// ...) takes its line along.
//
// One conversion, one thread.
#ifndef CONFIG_CONVERT_MODEL_H_
#define CONFIG_CONVERT_MODEL_H_

#include <deque>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "config/snapshot.h"

namespace parkway::config::convert {

// Where something stood in what is converted.
struct Origin {
  std::string file;
  int line = 0;
};

class Line {
 public:
  Line(std::string_view flag, Origin origin) : flag_(flag), origin_(std::move(origin)) {}

  // `values` are joined by commas; the last Set() of a key holds. An empty list is nothing.
  void Set(std::string_view key, std::string_view value);
  void SetList(std::string_view key, const std::vector<std::string>& values);

 private:
  friend class Model;
  struct Word {
    std::string key;
    std::string text;  // "key=value", quoted
  };

  std::string flag_;
  Origin origin_;
  std::vector<Word> words_;  // of a scalar: one, whose text is the value
};

class Model {
 public:
  // `what` could not be carried over.
  void Note(const Origin& origin, std::string_view what);
  // A line of "listen", "upstream", "server" or "route". Stays where it is.
  Line* Add(std::string_view flag, const Origin& origin);
  void AddScalar(std::string_view name, std::string_view value, const Origin& origin);

  struct Printed {
    std::string text;
    bool complete;  // there is no note in it
  };
  Printed Print(std::string_view title, const SystemFacts& facts);

 private:
  struct Item {
    std::string note;  // of this item alone, if it is no line
    std::optional<Line> line;
    bool scalar = false;
  };
  std::string LineText(const Item& item) const;
  // Takes out what is wrong at a place; false if there is nothing there.
  bool Refuse(size_t index, int column, std::string_view message);

  std::deque<Item> items_;
  bool complete_ = true;
};

// Names of one kind: each is what CheckName() accepts, and is there once.
class Names {
 public:
  std::string Add(std::string_view wanted);

 private:
  std::set<std::string> taken_;
};

// Rules that are asked in order until one holds the client, as our longest prefix.
class AccessRules {
 public:
  // False if `text` is no address or prefix; "all" is all.
  bool Add(bool allow, std::string_view text);
  bool empty() const { return rules_.empty(); }
  // Clients that no rule holds are let in.
  void SetOn(Line* listen) const;

 private:
  struct Rule {
    bool allow;
    bool ipv4;
    int bits;
    std::string ip;  // its bytes
    std::string text;
  };
  void AddRule(Rule rule);

  std::vector<Rule> rules_;  // none holds another that comes later
};

// Where both sides of a connection may be idle for times of their own.
void SetIdle(std::optional<absl::Duration> client, std::optional<absl::Duration> server,
             Line* listen);

// Those of idle, intvl and cnt that are there as keepalive=; the kernel's own for the others.
// Nothing if there is none, or one is wrong.
std::optional<std::string> KeepaliveOf(const std::map<std::string, std::string>& said);

// "12", "12ms", "1h30m": in `unit` where none is written. Also nginx's w, M, y.
std::optional<absl::Duration> ReadTime(std::string_view text, absl::Duration unit);

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> words);

// Joined by blanks, as a note shows it.
std::string Words(const std::vector<std::string>& words);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_MODEL_H_
