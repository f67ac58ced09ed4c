#include "tests/proxy/resolver/dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "gtest/gtest.h"

namespace parkway {

namespace {

constexpr size_t kHeaderBytes = 12;

void Put16(std::string& out, int value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

void Put32(std::string& out, uint32_t value) {
  Put16(out, static_cast<int>(value >> 16));
  Put16(out, static_cast<int>(value & 0xffff));
}

std::string WireName(const std::string& name) {
  std::string wire;
  for (size_t at = 0; at < name.size();) {
    size_t end = name.find('.', at);
    if (end == std::string::npos) end = name.size();
    wire.push_back(static_cast<char>(end - at));
    wire.append(name, at, end - at);
    at = end + 1;
  }
  wire.push_back('\0');
  return wire;
}

std::string Ip(int family, const std::string& text) {
  char bytes[16];
  EXPECT_EQ(1, inet_pton(family, text.c_str(), bytes)) << text;
  return std::string(bytes, family == AF_INET ? 4 : 16);
}

// The name, in lower case, and the type of a question; where it ends.
struct Asked {
  std::string name;
  int type = 0;
  size_t end = 0;
};

Asked ReadQuestion(const std::string& message) {
  Asked asked;
  size_t at = kHeaderBytes;
  while (at < message.size() && message[at] != 0) {
    const size_t size = static_cast<uint8_t>(message[at]);
    if (!asked.name.empty()) asked.name += '.';
    for (size_t i = 0; i < size; ++i) {
      asked.name += static_cast<char>(std::tolower(message[at + 1 + i]));
    }
    at += 1 + size;
  }
  asked.type = static_cast<uint8_t>(message[at + 1]) << 8 | static_cast<uint8_t>(message[at + 2]);
  asked.end = at + 5;
  return asked;
}

}  // namespace

DnsRecord RecordA(const std::string& name, const std::string& ip, uint32_t ttl) {
  return {name, ns_t_a, ttl, Ip(AF_INET, ip)};
}

DnsRecord RecordAaaa(const std::string& name, const std::string& ip, uint32_t ttl) {
  return {name, ns_t_aaaa, ttl, Ip(AF_INET6, ip)};
}

DnsRecord RecordCname(const std::string& name, const std::string& target, uint32_t ttl) {
  return {name, ns_t_cname, ttl, WireName(target)};
}

DnsRecord RecordSrv(const std::string& name, int priority, int weight, int port,
                    const std::string& target, uint32_t ttl) {
  std::string data;
  Put16(data, priority);
  Put16(data, weight);
  Put16(data, port);
  return {name, ns_t_srv, ttl, data + WireName(target)};
}

std::string DnsQuestion(const std::string& name, int type) {
  std::string message;
  Put16(message, 0x1234);
  Put16(message, 0x0100);
  Put16(message, 1);
  for (int i = 0; i < 3; ++i) Put16(message, 0);
  message += WireName(name);
  Put16(message, type);
  Put16(message, ns_c_in);
  return message;
}

std::string DnsMessage(const std::string& question, const DnsSays& says, bool truncated) {
  const size_t count = truncated ? 0 : says.records.size();
  std::string message = question.substr(0, 2);
  Put16(message, 0x8180 | (truncated ? 0x0200 : 0) | says.rcode);
  Put16(message, 1);
  Put16(message, static_cast<int>(count));
  Put16(message, 0);
  Put16(message, 0);
  message += question.substr(kHeaderBytes, ReadQuestion(question).end - kHeaderBytes);
  for (size_t i = 0; i < count; ++i) {
    const DnsRecord& record = says.records[i];
    message += WireName(record.name);
    Put16(message, record.type);
    Put16(message, ns_c_in);
    Put32(message, record.ttl);
    Put16(message, static_cast<int>(record.data.size()));
    message += record.data;
  }
  return message;
}

DnsServer::DnsServer() {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  // A port that is free for both.
  for (int tries = 0; tries < 100; ++tries) {
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    address.sin_port = 0;
    EXPECT_EQ(0, bind(tcp_, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
    EXPECT_EQ(0, getsockname(tcp_, reinterpret_cast<sockaddr*>(&address), &size));
    if (bind(udp_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) break;
    close(tcp_);
    close(udp_);
  }
  EXPECT_EQ(0, listen(tcp_, 16));
  port_ = ntohs(address.sin_port);
  EXPECT_EQ(0, pipe(stop_));
  thread_ = std::thread([this] { Run(); });
}

DnsServer::~DnsServer() {
  close(stop_[1]);
  thread_.join();
  for (int fd : {udp_, tcp_, stop_[0]}) close(fd);
}

void DnsServer::Set(const std::string& name, int type, DnsSays says) {
  const std::lock_guard<std::mutex> lock(mutex_);
  says_[{name, type}] = std::move(says);
}

int DnsServer::Asked(const std::string& name, int type) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = asked_.find({name, type});
  return found == asked_.end() ? 0 : found->second;
}

DnsSays DnsServer::Says(const std::string& question) {
  const auto asked = ReadQuestion(question);
  const std::lock_guard<std::mutex> lock(mutex_);
  ++asked_[{asked.name, asked.type}];
  const auto found = says_.find({asked.name, asked.type});
  if (found != says_.end()) return found->second;
  for (const auto& [key, says] : says_) {
    if (key.first == asked.name) return {};
  }
  return {.rcode = ns_r_nxdomain};
}

void DnsServer::Run() {
  pollfd waiting[] = {{udp_, POLLIN, 0}, {tcp_, POLLIN, 0}, {stop_[0], POLLIN, 0}};
  while (poll(waiting, 3, -1) > 0 && waiting[2].revents == 0) {
    if (waiting[0].revents != 0) ServeUdp();
    if (waiting[1].revents != 0) ServeTcp();
  }
}

void DnsServer::ServeUdp() {
  char bytes[4096];
  sockaddr_storage from;
  socklen_t size = sizeof(from);
  const ssize_t got =
      recvfrom(udp_, bytes, sizeof(bytes), 0, reinterpret_cast<sockaddr*>(&from), &size);
  if (got < static_cast<ssize_t>(kHeaderBytes)) return;
  std::string question(bytes, static_cast<size_t>(got));
  const DnsSays says = Says(question);
  const auto send = [&](const std::string& message) {
    sendto(udp_, message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
  };
  using How = DnsSays::How;
  std::string other = question;
  switch (says.how) {
    case How::kSilent:
      return;
    case How::kTruncated:
    case How::kHangUp:
      return send(DnsMessage(question, says, true));
    case How::kWrongId:
    case How::kWrongIdFirst:
      other[0] = static_cast<char>(other[0] ^ 0x55);
      send(DnsMessage(other, says, false));
      if (says.how == How::kWrongId) return;
      return send(DnsMessage(question, says, false));
    case How::kWrongQuestion:
      other[kHeaderBytes + 1] = static_cast<char>(other[kHeaderBytes + 1] == 'x' ? 'y' : 'x');
      return send(DnsMessage(other, says, false));
    case How::kGarbage: {
      std::string message = DnsMessage(question, says, false);
      message[7] = 5;  // more answers than there are
      return send(message + "\xff\xff\xff\xff\xff\xff");
    }
    case How::kAnswer:
      return send(DnsMessage(question, says, false));
  }
}

void DnsServer::ServeTcp() {
  const int fd = accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  ++tcp_connections_;
  uint8_t length[2];
  char bytes[4096];
  // One question after another, until the other side ends or a test ends.
  for (;;) {
    pollfd waiting[] = {{fd, POLLIN, 0}, {stop_[0], POLLIN, 0}};
    if (poll(waiting, 2, -1) <= 0 || waiting[1].revents != 0) break;
    if (recv(fd, length, 2, MSG_WAITALL) != 2) break;
    const size_t size = static_cast<size_t>(length[0] << 8 | length[1]);
    if (recv(fd, bytes, size, MSG_WAITALL) != static_cast<ssize_t>(size)) break;
    const std::string question(bytes, size);
    const DnsSays says = Says(question);
    if (says.how == DnsSays::How::kHangUp) break;
    const std::string message = DnsMessage(question, says, false);
    std::string framed;
    Put16(framed, static_cast<int>(message.size()));
    framed += message;
    // In pieces, so that nobody may count on a whole message in one read.
    for (size_t at = 0; at < framed.size(); at += 700) {
      if (send(fd, framed.data() + at, std::min<size_t>(700, framed.size() - at), MSG_NOSIGNAL) <
          0) {
        break;
      }
    }
  }
  close(fd);
}

}  // namespace parkway
