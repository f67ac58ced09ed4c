#include "config/convert/convert.h"

#include "absl/status/statusor.h"
#include "config/convert/haproxy.h"
#include "config/convert/model.h"
#include "config/convert/nginx.h"
#include "config/convert/rinetd.h"
#include "config/text.h"
#include "config/value.h"

namespace parkway::config::convert {

Result Convert(const std::vector<std::string>& arguments, const SystemFacts& facts,
               FileReader& files) {
  const bool known = arguments.size() == 2 && (arguments[0] == "haproxy" ||
                                               arguments[0] == "nginx" || arguments[0] == "rinetd");
  if (!known) return {2, "", "use: parkway convert haproxy|nginx|rinetd FILE"};
  const std::string& path = arguments[1];
  const absl::StatusOr<FileReader::File> file = files.Read(path);
  if (!file.ok()) return {1, "", Cat(Shown(path), ": ", Message(file.status()))};
  Model model;
  if (arguments[0] == "haproxy") {
    ReadHaproxy(path, file->bytes, &model);
  } else if (arguments[0] == "nginx") {
    ReadNginx(path, file->bytes, files, &model);
  } else {
    ReadRinetd(path, file->bytes, &model);
  }
  Model::Printed printed = model.Print(Cat("Converted from ", arguments[0], "'s ", path), facts);
  return {printed.complete ? 0 : 1, std::move(printed.text), ""};
}

}  // namespace parkway::config::convert
