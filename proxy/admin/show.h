// The answers of `show` that are numbers of the process, its servers, listeners, threads and
// connections, for people and as JSON.
//
// Names in the JSON say the unit (_bytes, _us, _s); what grows is named by what it counts. Pure
// functions: any thread.
#ifndef PROXY_ADMIN_SHOW_H_
#define PROXY_ADMIN_SHOW_H_

#include <string>
#include <string_view>

#include "proxy/admin/show_json.h"
#include "proxy/observe/readings.h"

namespace parkway::admin {

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

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_SHOW_H_
