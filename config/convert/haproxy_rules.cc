#include "config/convert/haproxy_rules.h"

#include <string>
#include <utility>
#include <vector>

#include "config/convert/haproxy_words.h"

namespace parkway::config::convert {
namespace {

// All but `first` only wait for the client's hello.
bool OnlyHello(const HaproxyProxy& proxy, const Directive& first) {
  for (const Directive& line : proxy.rules) {
    if (&line == &first) continue;
    const auto condition = ConditionOf(proxy, line.words, 3);
    if (!condition || line.words[2] != "accept") return false;
    for (const std::vector<Term>& all : *condition) {
      if (all.size() != 1 || all[0].acl.kind != Acl::Kind::kHello) return false;
    }
  }
  return true;
}

}  // namespace

std::optional<Condition> ConditionOf(const HaproxyProxy& proxy, const Tokens& words, size_t at) {
  Condition any;
  any.emplace_back();
  if (at >= words.size()) return any;
  const bool unless = words[at] == "unless";
  if (!unless && words[at] != "if") return std::nullopt;
  bool negated = false;
  for (size_t i = at + 1; i < words.size(); ++i) {
    std::string word = words[i];
    if (word == "or" || word == "||") {
      any.emplace_back();
      continue;
    }
    while (word.starts_with("!")) {
      negated = !negated;
      word.erase(0, 1);
    }
    if (word.empty()) continue;
    Term term;
    term.negated = negated;
    negated = false;
    if (word == "{") {
      Tokens inside;
      while (++i < words.size() && words[i] != "}") inside.push_back(words[i]);
      if (i >= words.size()) return std::nullopt;
      term.acl = AclOf(inside, 0);
    } else {
      const auto named = proxy.acls.find(word);
      if (named == proxy.acls.end()) {
        term.acl = AclOf({word}, 0);
      } else {
        term.acl = named->second[0];
        for (size_t k = 1; k < named->second.size(); ++k) {
          const Acl& more = named->second[k];
          if (more.kind != term.acl.kind) term.acl.kind = Acl::Kind::kOther;
          term.acl.values.insert(term.acl.values.end(), more.values.begin(), more.values.end());
        }
      }
    }
    if (term.acl.kind == Acl::Kind::kOther) return std::nullopt;
    any.back().push_back(std::move(term));
  }
  if (unless) {
    if (any.size() != 1 || any[0].size() != 1) return std::nullopt;
    any[0][0].negated = !any[0][0].negated;
  }
  return any;
}

bool ReadRules(const HaproxyProxy& proxy, AccessRules* access, Model* model) {
  bool hello = false;
  bool content = false;
  bool connection = false;
  for (const Directive& line : proxy.rules) {
    const bool accept = line.words[2] == "accept";
    const auto condition = ConditionOf(proxy, line.words, 3);
    if (!condition) {
      model->Note(line.origin, Words(line.words));
      return false;
    }
    for (const std::vector<Term>& all : *condition) {
      if (all.empty()) {
        if (accept && line.words[1] == "content") continue;
        if (hello) {
          // Who is not known by a hello has no route.
          if (!proxy.settings.default_backend.empty()) model->Note(line.origin, Words(line.words));
          continue;
        }
        access->Add(accept, "all");
        continue;
      }
      const Term& term = all[0];
      if (all.size() == 1 && term.acl.kind == Acl::Kind::kHello && accept) {
        hello = true;
        continue;
      }
      // An accept of the first kind does not spare the rules of the second.
      (line.words[1] == "content" ? content : connection) = true;
      bool right =
          !(content && connection) && all.size() == 1 && term.acl.kind == Acl::Kind::kSource;
      for (const std::string& value : term.acl.values) {
        right = right && access->Add(accept != term.negated, value);
      }
      if (right && term.negated) right = access->Add(accept, "all");
      if (term.negated && accept) right = false;
      // "reject if !good" goes on with the good; the next rule would ask them again.
      if (right && term.negated && &line != &proxy.rules.back()) right = OnlyHello(proxy, line);
      if (!right) {
        model->Note(line.origin, Words(line.words));
        return false;
      }
    }
  }
  return true;
}

}  // namespace parkway::config::convert
