// haproxy.cfg to our language: what HAProxy does in TCP mode. What is inherited from a defaults
// section is written out, and so are HAProxy's own defaults where ours differ.
#ifndef CONFIG_CONVERT_HAPROXY_H_
#define CONFIG_CONVERT_HAPROXY_H_

#include <string>
#include <string_view>

#include "config/convert/model.h"

namespace parkway::config::convert {

void ReadHaproxy(const std::string& path, std::string_view bytes, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_H_
