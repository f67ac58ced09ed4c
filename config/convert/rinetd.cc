#include "config/convert/rinetd.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "config/text.h"

namespace parkway::config::convert {
namespace {

// "10.1.*", "10.1.2.*", "10.1.2.3", "*": a prefix. Nothing for "10.1?.2.3" and the like.
std::optional<std::string> PrefixOf(std::string_view pattern) {
  if (pattern == "*") return "all";
  if (pattern.find_first_of("*?") == std::string_view::npos) return std::string(pattern);
  if (!pattern.ends_with(".*")) return std::nullopt;
  while (pattern.ends_with(".*")) pattern.remove_suffix(2);
  if (pattern.find_first_of("*?") != std::string_view::npos) return std::nullopt;
  const std::vector<std::string_view> parts = Split(pattern, '.');
  if (parts.size() > 3) return std::nullopt;
  std::string prefix(pattern);
  for (size_t i = parts.size(); i < 4; ++i) prefix += ".0";
  return Cat(prefix, "/", parts.size() * 8);
}

struct Rules {
  std::vector<std::string> allow;
  std::vector<std::string> deny;
};

struct Forward {
  Origin origin;
  std::string from;
  std::string to;
  std::string source;
  Rules rules;
};

class Reader {
 public:
  Reader(const std::string& path, Model* model) : path_(path), model_(model) {}

  void Read(std::string_view bytes) {
    int number = 0;
    for (std::string_view text : Split(bytes, '\n')) {
      const Origin origin = {path_, ++number};
      text = text.substr(0, text.find('#'));
      std::vector<std::string> words;
      size_t at = 0;
      while ((at = text.find_first_not_of(" \t\r", at)) != std::string_view::npos) {
        const size_t end = std::min(text.find_first_of(" \t\r", at), text.size());
        words.emplace_back(text.substr(at, end - at));
        at = end;
      }
      if (!words.empty()) ReadLine(words, origin);
    }
    Write();
  }

 private:
  // "80", "80/tcp"; a name of a service, or UDP: nothing.
  std::optional<unsigned> Port(std::string_view text) const {
    if (text.ends_with("/tcp")) text.remove_suffix(4);
    unsigned port = 0;
    if (!ParseNumber(text, &port) || port == 0 || port > 65535) return std::nullopt;
    return port;
  }

  void ReadLine(const std::vector<std::string>& words, const Origin& origin) {
    if (words[0] == "allow" || words[0] == "deny") {
      const auto prefix = words.size() == 2 ? PrefixOf(words[1]) : std::nullopt;
      if (!prefix) {
        model_->Note(origin, Cat(Words(words), ": no prefix"));
        // A forward that lets in more than it did is worse than none.
        if (forwards_.empty()) {
          all_broken_ = true;
        } else {
          broken_.insert(forwards_.size() - 1);
        }
        return;
      }
      Rules& rules = forwards_.empty() ? global_ : forwards_.back().rules;
      (words[0] == "allow" ? rules.allow : rules.deny).push_back(*prefix);
      return;
    }
    if (words[0] == "logfile" || words[0] == "logcommon" || words[0] == "pidlogfile") {
      model_->Note(origin, Cat(Words(words), ": the access log goes to stderr"));
      return;
    }
    std::vector<std::string> rest = words;
    std::string options;
    if (rest.size() > 2 && rest.back().ends_with("]")) {
      // In brackets, perhaps with blanks; an IPv6 address stands without.
      while (rest.size() > 2) {
        const bool first = rest.back().starts_with("[");
        options = Cat(rest.back(), options);
        rest.pop_back();
        if (first) break;
      }
    }
    Forward forward;
    forward.origin = origin;
    const std::optional<std::string> from = Take(&rest);
    const std::optional<std::string> to = Take(&rest);
    if (!from || !to || !rest.empty()) {
      model_->Note(origin, Cat(Words(words), ": UDP, or no forward"));
      // What follows would be allowed and denied for another forward.
      forwards_.push_back(forward);
      broken_.insert(forwards_.size() - 1);
      return;
    }
    forward.from = *from;
    forward.to = *to;
    if (options.size() >= 2) {
      for (std::string_view option :
           Split(std::string_view(options).substr(1, options.size() - 2), ',')) {
        const std::string_view whole = option;
        if (ConsumePrefix(&option, "source=") || ConsumePrefix(&option, "src=")) {
          forward.source = option;
        } else if (!option.empty()) {
          model_->Note(origin, Cat("option ", whole));
        }
      }
    }
    forwards_.push_back(forward);
  }

  // An address and a port from the front.
  std::optional<std::string> Take(std::vector<std::string>* words) const {
    if (words->empty()) return std::nullopt;
    const std::string host = words->front();
    if (host.starts_with("unix:") || host.starts_with("/")) {
      words->erase(words->begin());
      return host.starts_with("/") ? Cat("unix:", host) : host;
    }
    if (words->size() < 2) return std::nullopt;
    const auto port = Port((*words)[1]);
    words->erase(words->begin(), words->begin() + 2);
    if (!port) return std::nullopt;
    if (host.find(':') != std::string::npos) return Cat("[", host, "]:", *port);
    return Cat(host, ":", *port);
  }

  void Write() {
    // rinetd never ends a connection for being idle.
    if (!forwards_.empty()) model_->AddScalar("idle_timeout", "off", forwards_[0].origin);
    std::map<std::pair<std::string, std::string>, std::string> upstreams;
    Names names;
    for (size_t i = 0; i < forwards_.size(); ++i) {
      const Forward& forward = forwards_[i];
      if (broken_.count(i) != 0 || all_broken_) {
        if (!forward.from.empty()) {
          model_->Note(forward.origin, Cat(forward.from, " to ", forward.to,
                                           ": one of its rules was not carried over"));
        }
        continue;
      }
      std::string& upstream = upstreams[{forward.to, forward.source}];
      if (upstream.empty()) {
        upstream = names.Add(forward.to);
        Line* line = model_->Add("upstream", forward.origin);
        line->Set("name", upstream);
        line->Set("servers", forward.to);
        if (!forward.source.empty()) line->Set("source", forward.source);
      }
      Line* listen = model_->Add("listen", forward.origin);
      listen->Set("addr", forward.from);
      listen->Set("upstream", upstream);
      // One of the allows must hold the client, and none of the denies; those for all count with
      // the forward's own.
      AccessRules rules;
      // Where both allow some, a client must be in both.
      bool right = global_.allow.empty() || forward.rules.allow.empty();
      bool allows = false;
      for (const Rules* some : {&std::as_const(global_), &forward.rules}) {
        for (const std::string& prefix : some->deny) right = rules.Add(false, prefix) && right;
      }
      for (const Rules* some : {&std::as_const(global_), &forward.rules}) {
        for (const std::string& prefix : some->allow) {
          right = rules.Add(true, prefix) && right;
          allows = true;
        }
      }
      if (allows) rules.Add(false, "all");
      if (!right)
        model_->Note(forward.origin,
                     "rules that are no prefixes, or allow for all and for it alone");
      // The line goes with a deny that cannot be read.
      if (!right) listen->Set("deny", "?");
      if (right) rules.SetOn(listen);
    }
  }

  const std::string path_;
  Model* const model_;
  Rules global_;
  std::vector<Forward> forwards_;
  std::set<size_t> broken_;  // forwards that cannot be carried over
  bool all_broken_ = false;
};

}  // namespace

void ReadRinetd(const std::string& path, std::string_view bytes, Model* model) {
  Reader(path, model).Read(bytes);
}

}  // namespace parkway::config::convert
