// nginx.conf to our language: its stream block, or a file that one includes.
#ifndef CONFIG_CONVERT_NGINX_H_
#define CONFIG_CONVERT_NGINX_H_

#include <string>
#include <string_view>

#include "config/convert/model.h"
#include "config/file_reader.h"

namespace parkway::config::convert {

// Included files are read through `files`, relative to the folder of `path`.
void ReadNginx(const std::string& path, std::string_view bytes, FileReader& files, Model* model);

}  // namespace parkway::config::convert

#endif  // CONFIG_CONVERT_NGINX_H_
