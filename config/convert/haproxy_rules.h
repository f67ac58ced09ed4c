// Conditions of HAProxy's rules, and who may come in by them.
//
// One conversion, one thread.
#ifndef CONFIG_CONVERT_HAPROXY_RULES_H_
#define CONFIG_CONVERT_HAPROXY_RULES_H_

#include <cstddef>
#include <optional>

#include "config/convert/haproxy_config.h"
#include "config/convert/model.h"

namespace parkway::config::convert {

// The condition behind `if` or `unless` in words[at..]; nothing there is always true. Nothing if it
// is one that we have no words for.
std::optional<Condition> ConditionOf(const HaproxyProxy& proxy, const Tokens& words, size_t at);

// False if who may come in cannot be said; the line that is to blame was noted.
bool ReadRules(const HaproxyProxy& proxy, AccessRules* access, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_RULES_H_
