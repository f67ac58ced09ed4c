#include "config/admission.h"
#include "config/flag_rows.h"
#include "config/value.h"

namespace parkway::config {
namespace {

// In the order of --help.
constexpr Flag kRows[] = {
    {.name = "admin_socket",
     .field = TextField{&Scalars::admin_socket, CanonicalSocketPath, "/run/parkway/admin.sock"},
     .default_text = "auto",
     .value = "PATH|auto|off",
     .group = Group::kAdmin,
     .help = "a unix socket for parkwayctl; auto: admin.sock in the runtime folder that "
             "systemd made, or none"},
    {.name = "http",
     .field = AddressField{&Scalars::http},
     .default_text = "off",
     .value = "IP:PORT|off",
     .group = Group::kAdmin,
     .help = "where /metrics, /ready, /live and the dashboard are served"},
    {.name = "http_allow",
     .field = TextField{&Scalars::http_allow, CanonicalPrefixes, "192.0.2.0/24"},
     .default_text = "off",
     .value = "PREFIX[,PREFIX...]|off",
     .group = Group::kAdmin,
     .reloadable = true,
     .help = "who may ask there from other machines; needed where it listens beyond "
             "loopback"},
};

}  // namespace

absl::Span<const Flag> AdminRows() { return kRows; }

}  // namespace parkway::config
