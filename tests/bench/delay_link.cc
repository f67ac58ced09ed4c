// A slow link between two network namespaces: a TUN device in each, and this program in between,
// which delays, drops and reorders packets by seed. For kernels without netem.
//
//   delay_link --far_pid=4711 --delay_us=100 [--near=10.99.0.1] [--far=10.99.0.2]
//              [--drop=0.001] [--reorder=0.01] [--seed=1] [--mtu=1500] [--spin_us=0]
//
// The near device is in the namespace that this program was started in, the far one in that of the
// process --far_pid. Both are up and addressed (/30) when it prints READY. It runs until it is
// killed, and the devices go with it.
//
// --delay_us is for one way. A reordered packet waits for twice the delay and 50 us more. The order
// of all others is kept.
//
// One thread. The kernel's timers are late by tens of microseconds; with --spin_us it spins for so
// long before a packet is due, and needs a core of its own.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

[[noreturn]] void Fail(const std::string& what) {
  fprintf(stderr, "delay_link: %s: %s\n", what.c_str(), strerror(errno));
  exit(1);
}

int64_t NowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

// A device in the present namespace, up, with `own` as its address in a /30.
int OpenTun(const char* name, const std::string& own, int mtu) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) Fail("/dev/net/tun");
  ifreq request{};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (ioctl(fd, TUNSETIFF, &request) != 0) Fail("TUNSETIFF");

  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const auto set_address = [&](unsigned long call, const std::string& text) {
    auto* address = reinterpret_cast<sockaddr_in*>(&request.ifr_addr);
    *address = {};
    address->sin_family = AF_INET;
    if (inet_pton(AF_INET, text.c_str(), &address->sin_addr) != 1) Fail("address " + text);
    if (ioctl(control, call, &request) != 0) Fail("address of " + std::string(name));
  };
  set_address(SIOCSIFADDR, own);
  set_address(SIOCSIFNETMASK, "255.255.255.252");
  request.ifr_mtu = mtu;
  if (ioctl(control, SIOCSIFMTU, &request) != 0) Fail("mtu");
  request.ifr_qlen = 5000;
  if (ioctl(control, SIOCSIFTXQLEN, &request) != 0) Fail("queue length");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(control, SIOCSIFFLAGS, &request) != 0) Fail("up");
  close(control);
  return fd;
}

struct Packet {
  int64_t due;
  uint64_t number;  // of two that are due at once the earlier one goes first
  int to;
  std::vector<char> bytes;
};
struct Later {
  bool operator()(const Packet& a, const Packet& b) const {
    return std::pair(a.due, a.number) > std::pair(b.due, b.number);
  }
};

class Link {
 public:
  struct Options {
    int64_t delay_ns;
    int64_t spin_ns;
    double drop;
    double reorder;
    uint64_t seed;
  };

  Link(const Options& options, int near, int far)
      : options_(options), ends_{near, far}, random_(options.seed) {}

  [[noreturn]] void Run() {
    std::array<pollfd, 2> wait{{{ends_[0], POLLIN, 0}, {ends_[1], POLLIN, 0}}};
    for (;;) {
      Send();
      const int64_t left = under_way_.empty() ? -1 : under_way_.top().due - NowNs();
      if (under_way_.empty() || left > options_.spin_ns) {
        const timespec timeout{0, left - options_.spin_ns};
        if (ppoll(wait.data(), wait.size(), under_way_.empty() ? nullptr : &timeout, nullptr) < 0 &&
            errno != EINTR) {
          Fail("ppoll");
        }
      }
      Receive(0);
      Receive(1);
    }
  }

 private:
  void Receive(int end) {
    static std::array<char, 65536> buffer;
    for (int i = 0; i < 64; ++i) {
      const ssize_t n = read(ends_[end], buffer.data(), buffer.size());
      if (n <= 0) return;
      if (Chance(options_.drop)) continue;
      int64_t due = NowNs() + options_.delay_ns;
      if (Chance(options_.reorder)) due += options_.delay_ns + 50'000;
      under_way_.push({due, ++number_, ends_[1 - end], {buffer.data(), buffer.data() + n}});
    }
  }

  void Send() {
    while (!under_way_.empty() && under_way_.top().due <= NowNs()) {
      const Packet& packet = under_way_.top();
      // A device whose queue is full drops, as a link does.
      if (write(packet.to, packet.bytes.data(), packet.bytes.size()) < 0 && errno != EAGAIN &&
          errno != ENOBUFS && errno != EIO) {
        Fail("write");
      }
      under_way_.pop();
    }
  }

  bool Chance(double probability) {
    return probability > 0 && std::uniform_real_distribution<double>(0, 1)(random_) < probability;
  }

  const Options options_;
  const std::array<int, 2> ends_;
  std::mt19937_64 random_;
  uint64_t number_ = 0;
  std::priority_queue<Packet, std::vector<Packet>, Later> under_way_;
};

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> flags = {
      {"far_pid", ""},       {"spin_us", "0"},     {"delay_us", "100"},
      {"near", "10.99.0.1"}, {"far", "10.99.0.2"}, {"drop", "0"},
      {"reorder", "0"},      {"seed", "1"},        {"mtu", "1500"},
  };
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const size_t equals = flag.find('=');
    if (flag.rfind("--", 0) != 0 || equals == std::string::npos ||
        !flags.contains(flag.substr(2, equals - 2))) {
      fprintf(stderr, "delay_link: what is %s?\n", argv[i]);
      return 64;
    }
    flags[flag.substr(2, equals - 2)] = flag.substr(equals + 1);
  }
  prctl(PR_SET_TIMERSLACK, 1);
  const int mtu = atoi(flags["mtu"].c_str());
  const int near = OpenTun("slow0", flags["near"], mtu);
  const std::string path = "/proc/" + flags["far_pid"] + "/ns/net";
  const int space = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) Fail(path);
  const int far = OpenTun("slow0", flags["far"], mtu);
  printf("READY\n");
  fflush(stdout);
  Link link({.delay_ns = atoll(flags["delay_us"].c_str()) * 1000,
             .spin_ns = atoll(flags["spin_us"].c_str()) * 1000,
             .drop = atof(flags["drop"].c_str()),
             .reorder = atof(flags["reorder"].c_str()),
             .seed = strtoull(flags["seed"].c_str(), nullptr, 10)},
            near, far);
  link.Run();
}
