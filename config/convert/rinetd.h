// rinetd.conf to our language: forwards, allow and deny.
#ifndef CONFIG_CONVERT_RINETD_H_
#define CONFIG_CONVERT_RINETD_H_

#include <string>
#include <string_view>

#include "config/convert/model.h"

namespace parkway::config::convert {

void ReadRinetd(const std::string& path, std::string_view bytes, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_RINETD_H_
