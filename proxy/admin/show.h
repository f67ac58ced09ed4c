// The answers of `show` that are made of readings alone, for people and as JSON.
//
// Names in the JSON say the unit (_bytes, _us, _s); what grows is named by what it counts. Pure
// functions: any thread.
#ifndef PROXY_ADMIN_SHOW_H_
#define PROXY_ADMIN_SHOW_H_

#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"
#include "proxy/control.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {

using Json = nlohmann::ordered_json;

// "Key: value" lines, those that HAProxy has too under its names.
std::string InfoText(const Readings& readings);
Json InfoJson(const Readings& readings);

// Of one upstream, or of all if `upstream` is empty.
std::string ServersText(const Readings& readings, std::string_view upstream);
Json ServersJson(const Readings& readings, std::string_view upstream);

std::string ListenersText(const Readings& readings);
Json ListenersJson(const Readings& readings);

std::string ThreadsText(const Readings& readings);
Json ThreadsJson(const Readings& readings);

std::string SlowestText(const Readings& readings);
Json SlowestJson(const Readings& readings);

std::string DnsText(const Readings& readings);
Json DnsJson(const Readings& readings);

std::string LimitsText(const Readings& readings);
Json LimitsJson(const Readings& readings);

std::string DrainsText(const std::vector<DrainProgress>& drains);
Json DrainsJson(const std::vector<DrainProgress>& drains);

// Lines before the configuration: the generation and what became of the last reload.
std::string ReloadText(const ReloadState& state);
Json ReloadJson(const ReloadState& state);

// As one line. Bytes that are no UTF-8 are replaced, so that it is always valid.
std::string Dump(const Json& json);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SHOW_H_
