// The answers of `show` that say what is in force: names, limits, drains and the configuration, for
// people and as JSON.
//
// Pure functions: any thread.
#ifndef PROXY_ADMIN_SHOW_STATE_H_
#define PROXY_ADMIN_SHOW_STATE_H_

#include <string>
#include <vector>

#include "proxy/admin/show_json.h"
#include "proxy/control.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {

std::string DnsText(const Readings& readings);
Json DnsJson(const Readings& readings);

std::string LimitsText(const Readings& readings);
Json LimitsJson(const Readings& readings);

std::string DrainsText(const std::vector<DrainProgress>& drains);
Json DrainsJson(const std::vector<DrainProgress>& drains);

// Lines before the configuration: the generation and what became of the last reload.
std::string ReloadText(const ReloadState& state);
Json ReloadJson(const ReloadState& state);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SHOW_STATE_H_
