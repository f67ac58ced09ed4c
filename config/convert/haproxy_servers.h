// Backends of HAProxy, and the servers in them, in our language.
//
// One conversion, one thread.
#ifndef CONFIG_CONVERT_HAPROXY_SERVERS_H_
#define CONFIG_CONVERT_HAPROXY_SERVERS_H_

#include <string>

#include "config/convert/haproxy_config.h"
#include "config/convert/model.h"

namespace parkway::config::convert {

// `name`: our name of it.
void WriteBackend(const HaproxyConfig& config, const HaproxyProxy& proxy, const std::string& name,
                  Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_HAPROXY_SERVERS_H_
