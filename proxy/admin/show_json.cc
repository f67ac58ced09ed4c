#include "proxy/admin/show_json.h"

#include "proxy/admin/format.h"

namespace parkway::admin {

Json SecondsOrNull(absl::Duration time) {
  return time == absl::InfiniteDuration() ? Json() : Json(Seconds(time));
}

Json MomentOrNull(absl::Time time) {
  const std::string shown = ShownMoment(time);
  return shown == "-" ? Json() : Json(shown);
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace parkway::admin
