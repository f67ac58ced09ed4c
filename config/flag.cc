#include "config/flag.h"

#include <algorithm>

#include "config/log_sink.h"
#include "config/quote.h"
#include "config/text.h"

namespace parkway::config {
namespace {

absl::Status SetIps(std::string_view text, std::vector<Address>& addresses) {
  std::vector<Address> read;
  if (text != "off" && text != "0") {
    for (const std::string_view piece : Split(text, ',')) {
      absl::StatusOr<Address> address = ParseIp(piece);
      if (!address.ok())
        return absl::InvalidArgumentError(Cat(Message(address.status()), ", or off"));
      if (std::find(read.begin(), read.end(), *address) != read.end()) {
        return absl::InvalidArgumentError(Cat(Quoted(piece), " is here twice; keep one"));
      }
      read.push_back(*std::move(address));
    }
  }
  addresses = std::move(read);
  return absl::OkStatus();
}

std::string PrintIps(const std::vector<Address>& addresses) {
  std::vector<std::string> texts;
  for (const Address& address : addresses) texts.push_back(PrintIp(address));
  return texts.empty() ? "off" : Join(texts, ",");
}

absl::Status SetCpus(std::string_view text, CpuAffinity& affinity) {
  CpuAffinity read;
  if (text == "auto") {
    read.kind = CpuAffinity::Kind::kAuto;
  } else if (text != "off" && text != "0") {
    read.kind = CpuAffinity::Kind::kList;
    absl::StatusOr<std::vector<uint32_t>> cpus = ParseCpuList(text);
    if (!cpus.ok()) return absl::InvalidArgumentError(Cat(Message(cpus.status()), ", auto or off"));
    read.cpus = *std::move(cpus);
  }
  affinity = std::move(read);
  return absl::OkStatus();
}

std::string PrintCpus(const CpuAffinity& affinity) {
  switch (affinity.kind) {
    case CpuAffinity::Kind::kOff:
      return "off";
    case CpuAffinity::Kind::kAuto:
      return "auto";
    case CpuAffinity::Kind::kList:
      break;
  }
  return PrintCpuList(affinity.cpus);
}

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <typename... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace

bool Flag::is_scalar() const {
  return !is_list() && !is_action() && !std::holds_alternative<LoaderField>(field);
}

absl::Status SetScalar(const Flag& flag, std::string_view text, Scalars& scalars) {
  const auto set_count = [&](auto member, uint64_t least, uint64_t most) {
    const absl::StatusOr<uint64_t> count = ParseCount(text, least, most);
    if (count.ok()) scalars.*member = static_cast<uint32_t>(*count);
    return count.status();
  };
  return std::visit(
      Overloaded{
          [&](const DurationField& field) {
            const absl::StatusOr<absl::Duration> duration =
                ParseDuration(text, {.off = field.off, .least = field.least, .most = field.most});
            if (duration.ok()) scalars.*field.member = *duration;
            return duration.status();
          },
          [&](const SizeField& field) {
            if (text == "off" || text == "0") {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint64_t> size = ParseSize(text, field.least, field.most);
            if (size.ok()) scalars.*field.member = *size;
            return size.status();
          },
          [&](const KernelNameField& field) {
            const absl::StatusOr<std::string> name = ParseKernelName(text, field.most_bytes);
            if (name.ok()) scalars.*field.member = *name;
            return name.status();
          },
          [&](const TextField& field) {
            if (text == field.none || (field.none == "off" && text == "0")) {
              (scalars.*field.member).clear();
              return absl::OkStatus();
            }
            absl::StatusOr<std::string> read = field.canonical(text);
            if (read.ok()) scalars.*field.member = *std::move(read);
            return read.status();
          },
          [&](const CpuField& field) { return SetCpus(text, scalars.*field.member); },
          [&](const BoolField& field) {
            const absl::StatusOr<bool> on = ParseBool(text);
            if (on.ok()) scalars.*field.member = *on;
            return on.status();
          },
          [&](const CountField& field) {
            if (field.off && (text == "off" || text == "0")) {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            absl::Status status;
            if (field.hex && text.starts_with("0x")) {
              const absl::StatusOr<uint32_t> bits = ParseHex(text, field.least, field.most);
              if (bits.ok()) scalars.*field.member = *bits;
              status = bits.status();
            } else {
              status = set_count(field.member, field.least, field.most);
            }
            if (status.ok() || !field.off) return status;
            return absl::InvalidArgumentError(Cat(Message(status), ", or off"));
          },
          [&](const PercentField& field) {
            if (field.off && (text == "off" || text == "0")) {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint32_t> percent = ParsePercent(text, field.least, field.most);
            if (percent.ok()) scalars.*field.member = *percent;
            if (percent.ok() || !field.off) return percent.status();
            return absl::InvalidArgumentError(Cat(Message(percent.status()), ", or off"));
          },
          [&](const IpsField& field) { return SetIps(text, scalars.*field.member); },
          [&](const BytesField& field) {
            absl::StatusOr<std::string> bytes = ParseBytes(text, field.most_bytes);
            if (bytes.ok()) scalars.*field.member = *bytes;
            return bytes.status();
          },
          [&](const ExpectationField& field) {
            absl::StatusOr<Expectation> wanted = ParseExpectation(text, field.most_bytes);
            if (wanted.ok()) scalars.*field.member = *wanted;
            return wanted.status();
          },
          [&](const PartingField& field) {
            const absl::StatusOr<Parting> parting = ParseParting(text);
            if (parting.ok()) scalars.*field.member = *parting;
            return parting.status();
          },
          [&](const BandwidthField& field) {
            if (text == "off" || text == "0") {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint64_t> bandwidth = ParseBandwidth(text);
            if (bandwidth.ok()) scalars.*field.member = *bandwidth;
            return bandwidth.status();
          },
          [&](const KeepaliveField& field) {
            const absl::StatusOr<Keepalive> keepalive = ParseKeepalive(text);
            if (keepalive.ok()) scalars.*field.member = *keepalive;
            return keepalive.status();
          },
          [&](const LogSinkField& field) {
            absl::StatusOr<LogSink> sink = ParseLogSink(text);
            if (sink.ok()) scalars.*field.member = *std::move(sink);
            return sink.status();
          },
          [&](const AddressField& field) {
            if (text == "off" || text == "0") {
              scalars.*field.member = std::nullopt;
              return absl::OkStatus();
            }
            const absl::StatusOr<Address> address = ParseAddress(text, AddressUse::kListens);
            if (!address.ok()) return address.status();
            if (address->is_unix()) {
              return Wrong(Cat(Quoted(text), " is a unix socket"), "write IP:PORT");
            }
            scalars.*field.member = *address;
            return absl::OkStatus();
          },
          [&](const AutoSizeField& field) {
            if (text == "auto") {
              scalars.*field.member = std::nullopt;
              return absl::OkStatus();
            }
            if (text == "off" || text == "0") {
              scalars.*field.member = 0;
              return absl::OkStatus();
            }
            const absl::StatusOr<uint64_t> size = ParseSize(text, field.least, field.most);
            if (size.ok()) {
              scalars.*field.member = *size;
              return absl::OkStatus();
            }
            return absl::InvalidArgumentError(Cat(Message(size.status()), ", or auto or off"));
          },
          [&](const IpField& field) {
            if (text == "server") {
              scalars.*field.member = std::nullopt;
              return absl::OkStatus();
            }
            const absl::StatusOr<Address> address = ParseIp(text);
            if (address.ok()) scalars.*field.member = *address;
            return address.status();
          },
          [&](const AutoCountField& field) {
            if (text != "auto") {
              absl::Status status = set_count(field.member, field.least, field.most);
              if (status.ok()) return status;
              return absl::InvalidArgumentError(Cat(Message(status), ", or auto"));
            }
            scalars.*field.member = std::nullopt;
            return absl::OkStatus();
          },
          [&](const WordField& field) {
            const absl::StatusOr<size_t> index = ParseWord(text, field.words);
            if (index.ok()) field.set(scalars, *index);
            return index.status();
          },
          [&](const auto&) { return absl::InvalidArgumentError("it is no scalar; a bug"); },
      },
      flag.field);
}

std::string PrintScalar(const Flag& flag, const Scalars& scalars) {
  return std::visit(
      Overloaded{
          [&](const DurationField& field) { return PrintDuration(scalars.*field.member); },
          [&](const SizeField& field) {
            const uint64_t size = scalars.*field.member;
            return size == 0 ? std::string("off") : PrintSize(size);
          },
          [&](const KernelNameField& field) {
            const std::string& name = scalars.*field.member;
            return name.empty() ? std::string("default") : name;
          },
          [&](const TextField& field) {
            const std::string& text = scalars.*field.member;
            return text.empty() ? std::string(field.none) : text;
          },
          [&](const CpuField& field) { return PrintCpus(scalars.*field.member); },
          [&](const BoolField& field) { return std::string(PrintBool(scalars.*field.member)); },
          [&](const CountField& field) {
            const uint32_t count = scalars.*field.member;
            if (field.off && count == 0) return std::string("off");
            return field.hex ? PrintHex(count) : Cat(count);
          },
          [&](const PercentField& field) {
            const uint32_t percent = scalars.*field.member;
            return field.off && percent == 0 ? std::string("off") : PrintPercent(percent);
          },
          [&](const IpsField& field) { return PrintIps(scalars.*field.member); },
          [&](const BytesField& field) { return PrintBytes(scalars.*field.member); },
          [&](const ExpectationField& field) { return PrintExpectation(scalars.*field.member); },
          [&](const PartingField& field) { return PrintParting(scalars.*field.member); },
          [&](const BandwidthField& field) {
            const uint64_t bandwidth = scalars.*field.member;
            return bandwidth == 0 ? std::string("off") : PrintBandwidth(bandwidth);
          },
          [&](const KeepaliveField& field) { return PrintKeepalive(scalars.*field.member); },
          [&](const LogSinkField& field) { return PrintLogSink(scalars.*field.member); },
          [&](const AddressField& field) {
            const std::optional<Address>& address = scalars.*field.member;
            return address.has_value() ? address->ToString() : std::string("off");
          },
          [&](const AutoSizeField& field) {
            const std::optional<uint64_t>& size = scalars.*field.member;
            if (!size.has_value()) return std::string("auto");
            return *size == 0 ? std::string("off") : PrintSize(*size);
          },
          [&](const IpField& field) {
            const std::optional<Address>& address = scalars.*field.member;
            return address.has_value() ? PrintIp(*address) : std::string("server");
          },
          [&](const AutoCountField& field) {
            const std::optional<uint32_t>& count = scalars.*field.member;
            return count.has_value() ? Cat(*count) : std::string("auto");
          },
          [&](const WordField& field) { return std::string(field.words[field.get(scalars)]); },
          [&](const auto&) { return std::string(); },
      },
      flag.field);
}

}  // namespace parkway::config
