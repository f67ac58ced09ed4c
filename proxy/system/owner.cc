#include "proxy/system/owner.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>

namespace parkway {

namespace {

bool IsNumber(const std::string& text, uint32_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::optional<Owner> FindOwner(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  Owner owner = {0, static_cast<gid_t>(-1)};
  if (const passwd* found = getpwnam(user.c_str()); found != nullptr) {
    owner.user = found->pw_uid;
  } else if (!IsNumber(user, &owner.user)) {
    return std::nullopt;
  }
  if (colon == std::string::npos) return owner;
  const std::string group = text.substr(colon + 1);
  if (const struct group* found = getgrnam(group.c_str()); found != nullptr) {
    owner.group = found->gr_gid;
  } else if (!IsNumber(group, &owner.group)) {
    return std::nullopt;
  }
  return owner;
}

}  // namespace parkway
