#include "proxy/admin/socket_server.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "poller/scheduler.h"
#include "proxy/admin/conversation.h"
#include "proxy/admin/reply.h"
#include "tests/poller/engine.h"

namespace parkway::admin {
namespace {

constexpr int kPatienceMs = 20'000;

// One end of a connection to the socket, that gives up after a while.
class Client {
 public:
  explicit Client(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ok_ = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    timeval patience = {kPatienceMs / 1000, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)), ok_(other.ok_) {}
  ~Client() {
    if (fd_ >= 0) close(fd_);
  }

  bool ok() const { return ok_; }
  int fd() const { return fd_; }
  Client& Say(std::string_view text) {
    // The server may have left already; then the answer says so.
    static_cast<void>(send(fd_, text.data(), text.size(), MSG_NOSIGNAL));
    return *this;
  }
  Client& HalfClose() {
    shutdown(fd_, SHUT_WR);
    return *this;
  }
  // Everything until the server closes.
  std::string All() {
    std::string all;
    char piece[4096];
    for (;;) {
      const ssize_t got = recv(fd_, piece, sizeof(piece), 0);
      if (got < 0 && errno != ECONNRESET) all += "<nothing more came>";
      if (got <= 0) return all;
      all.append(piece, static_cast<size_t>(got));
    }
  }
  // Until `end` came; what follows is kept.
  std::string Until(std::string_view end) {
    char piece[4096];
    for (;;) {
      const size_t at = kept_.find(end);
      if (at != std::string::npos) {
        std::string text = kept_.substr(0, at + end.size());
        kept_.erase(0, at + end.size());
        return text;
      }
      const ssize_t got = recv(fd_, piece, sizeof(piece), 0);
      if (got <= 0) return kept_ + "<ended>";
      kept_.append(piece, static_cast<size_t>(got));
    }
  }

 private:
  int fd_;
  bool ok_ = false;
  std::string kept_;
};

// Commands to try the server with.
void Execute(const std::vector<std::string_view>& words, Conversation& conversation,
             std::atomic<int>& waiting, std::function<void()>* bell, std::atomic<bool>& open) {
  Reply& reply = conversation.reply();
  if (words.empty()) {
    reply.Fail(Status::kUsage, "nothing said");
  } else if (words[0] == "echo") {
    std::string text;
    for (size_t i = 1; i < words.size(); ++i) {
      if (i > 1) text += ' ';
      text += words[i];
    }
    reply.Say(reply.json() ? "{\"echo\":\"" + text + "\"}" : text);
  } else if (words[0] == "who") {
    reply.Say(conversation.who());
  } else if (words[0] == "much") {
    const std::string line(100, 'x');
    for (int i = 0; i < 200'000 && reply.Say(line); ++i) {
    }
  } else if (words[0] == "wait") {
    *bell = conversation.bell();
    ++waiting;
    const auto waited = conversation.WaitUntil([&open] { return open.load(); });
    --waiting;
    reply.Say(waited == Conversation::Waited::kYes ? "opened" : "gone");
  } else if (words[0] == "soon") {
    const auto waited =
        conversation.WaitUntil([] { return false; }, conversation.now() + absl::Milliseconds(30));
    reply.Say(waited == Conversation::Waited::kLate ? "late" : "?");
  } else {
    reply.Fail(Status::kUsage, "unknown");
  }
}

class SocketServerTest : public testing::Test {
 protected:
  SocketServerTest() {
    char name[] = "/tmp/parkway-admin-XXXXXX";
    folder_ = mkdtemp(name);
    path_ = folder_ + "/admin.sock";
  }

  ~SocketServerTest() override {
    if (thread_.joinable()) End();
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }

  SocketServer::Options Options() { return {.path = path_}; }

  void Serve() { Serve(Options()); }
  void Serve(const SocketServer::Options& options) {
    server_ = Make(options);
    ASSERT_EQ(server_->Start(), "");
    thread_ = std::thread([this] { scheduler_.Run(); });
  }

  std::unique_ptr<SocketServer> Make(const SocketServer::Options& options) {
    return std::make_unique<SocketServer>(
        scheduler_, options,
        [this](const std::vector<std::string_view>& words, Conversation& conversation) {
          Execute(words, conversation, waiting_, &bell_, open_);
        },
        [this](std::string line) {
          const std::lock_guard guard(mutex_);
          log_.push_back(std::move(line));
        });
  }

  // Runs `call` on the server's thread.
  template <typename Call>
  auto On(Call call) {
    std::promise<decltype(call())> answer;
    scheduler_.Post(LambdaMessage::Make([&](Scheduler&) {
      if constexpr (std::is_void_v<decltype(call())>) {
        call();
        answer.set_value();
      } else {
        answer.set_value(call());
      }
    }));
    return answer.get_future().get();
  }

  void Eventually(const std::function<bool()>& condition, const char* what) {
    for (int i = 0; i < kPatienceMs && !condition(); ++i) usleep(1000);
    EXPECT_TRUE(condition()) << what;
  }
  size_t Sessions() {
    return On([this] { return server_->sessions(); });
  }

  // Stops the server; it must be done by itself.
  void End() {
    On([this] { server_->Stop(); });
    Eventually([this] { return On([this] { return server_->done(); }); }, "the server is done");
    scheduler_.Stop();
    thread_.join();
    server_.reset();
  }

  std::string Ask(std::string_view line) { return Client(path_).Say(line).All(); }
  std::string Log() {
    const std::lock_guard guard(mutex_);
    std::string all;
    for (const std::string& line : log_) all += line + "\n";
    return all;
  }

  std::string folder_;
  std::string path_;
  Scheduler scheduler_{{.max_stacks = 256}, nullptr};
  std::unique_ptr<SocketServer> server_;
  std::thread thread_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> open_{false};
  std::function<void()> bell_;
  std::mutex mutex_;
  std::vector<std::string> log_;
};

TEST_F(SocketServerTest, OneLineIsAnsweredAndTheConnectionClosed) {
  Serve();
  EXPECT_EQ(Ask("echo one two\n"), "one two\n\n");
  EXPECT_EQ(Ask("  echo   one ;; echo two;\r\n"), "one\n\ntwo\n\n");
  EXPECT_EQ(Ask("dance\n"), "error: unknown\n\n");
  EXPECT_EQ(Ask("\n"), "") << "an empty line asks for nothing";
}

TEST_F(SocketServerTest, ALineWithoutItsEndIsTakenWhenTheClientHasSaidAll) {
  Serve();
  EXPECT_EQ(Client(path_).Say("echo x").HalfClose().All(), "x\n\n");
  EXPECT_EQ(Client(path_).HalfClose().All(), "");
}

TEST_F(SocketServerTest, PromptKeepsTheConnectionUntilQuit) {
  Serve();
  Client client(path_);
  client.Say("prompt\n");
  EXPECT_EQ(client.Until("> "), "> ");
  client.Say("echo a\necho b\n");
  EXPECT_EQ(client.Until("> "), "a\n\n> ");
  EXPECT_EQ(client.Until("> "), "b\n\n> ");
  client.Say("quit\n");
  EXPECT_EQ(client.All(), "");
}

TEST_F(SocketServerTest, FramedAnswersSayWhatALineIsAndHowItEnded) {
  Serve();
  Client client(path_);
  client.Say("--framed echo a;b\n");
  EXPECT_EQ(client.Until("=0\n"), "+a;b\n=0\n") << "a semicolon is one of the command's";
  client.Say("--framed --json echo a\n");
  EXPECT_EQ(client.Until("=0\n"), "+{\"echo\":\"a\"}\n=0\n");
  client.Say("--framed dance\n");
  EXPECT_EQ(client.Until("=2\n"), "-unknown\n=2\n");
  client.Say("--framed\n");
  EXPECT_EQ(client.Until("=2\n"), "-nothing said\n=2\n");
}

TEST_F(SocketServerTest, WhoAsksIsKnownFromTheKernelAndLogged) {
  Serve();
  const std::string who = "pid=" + std::to_string(getpid()) + " uid=" + std::to_string(getuid()) +
                          " gid=" + std::to_string(getgid());
  EXPECT_EQ(Ask("who\n"), who + "\n\n");
  EXPECT_NE(Log().find("admin: connected: " + who), std::string::npos) << Log();
}

TEST_F(SocketServerTest, ALineThatIsTooLongIsRefused) {
  Serve();
  const std::string answer = Ask(std::string(3 * Session::kMostLineBytes, 'x'));
  EXPECT_EQ(answer, "error: a line is at most 4096 bytes; this one is longer\n\n");
  const std::string longest(Session::kMostLineBytes - 6, 'y');
  EXPECT_EQ(Ask("echo " + longest + "\n"), longest + "\n\n");
}

TEST_F(SocketServerTest, WaitingEndsWithABellADeadlineOrTheClient) {
  Serve();
  EXPECT_EQ(Ask("soon\n"), "late\n\n");
  {
    Client client(path_);
    client.Say("wait\n");
    Eventually([this] { return waiting_ == 1; }, "it waits");
    open_ = true;
    On([this] { bell_(); });
    EXPECT_EQ(client.All(), "opened\n\n");
    open_ = false;
  }
  On([this] { bell_(); });  // of a session that is gone
  {
    Client client(path_);
    client.Say("wait\n").HalfClose();  // says all and still listens
    Eventually([this] { return waiting_ == 1; }, "it waits");
  }
  Eventually([this] { return waiting_ == 0; }, "nobody is there for whom it could wait");
  Eventually([this] { return Sessions() == 0; }, "and the session is gone");
}

TEST_F(SocketServerTest, AClientThatStopsInTheMiddleIsClosedInTime) {
  SocketServer::Options options = Options();
  options.line_patience = absl::Milliseconds(50);
  options.idle_patience = absl::Seconds(1);
  Serve(options);
  EXPECT_EQ(Client(path_).Say("echo").All(), "") << "half a line";
  EXPECT_EQ(Client(path_).All(), "") << "nothing at all";
  EXPECT_EQ(Client(path_).Say("prompt\n").All(), "> ") << "nothing more";
}

TEST_F(SocketServerTest, AClientThatDoesNotReadHoldsUpNobodyAndIsClosed) {
  SocketServer::Options options = Options();
  options.write_patience = absl::Milliseconds(100);
  Serve(options);
  Client stalled(path_);
  stalled.Say("much\n");
  EXPECT_EQ(Ask("echo still here\n"), "still here\n\n");
  Eventually([this] { return Sessions() == 0; }, "the stalled one is gone");
  const size_t got = stalled.All().size();
  EXPECT_GT(got, 0u);
  EXPECT_LT(got, 10'000'000u) << "the kernel's queue and no more";
}

TEST_F(SocketServerTest, ALongAnswerComesWhole) {
  Serve();
  const std::string answer = Ask("much\n");
  EXPECT_EQ(answer.size(), 200'000u * 101 + 1);
}

TEST_F(SocketServerTest, AFloodOfCommandsIsSlowedDownAndOthersAreServed) {
  Serve();
  Client flood(path_);
  std::string lines = "prompt\n";
  for (int i = 0; i < 1000; ++i) lines += "echo flood\n";
  // What is run while the others are asked counts, too.
  const auto begin = std::chrono::steady_clock::now();
  flood.Say(lines);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Ask("echo calm\n"), "calm\n\n");
  // Of the thousand at most 200 in each second were run; the rest was not lost.
  for (int i = 0; i < 450; ++i) EXPECT_NE(flood.Until("flood\n").find("flood"), std::string::npos);
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1000));
}

TEST_F(SocketServerTest, OneMoreThanAllowedTakesThePlaceOfTheOneIdleLongest) {
  Serve();
  std::vector<Client> idle;
  for (size_t i = 0; i < SocketServer::kMostSessions; ++i) {
    idle.emplace_back(path_);
    Eventually([&] { return Sessions() == i + 1; }, "accepted");
  }
  EXPECT_EQ(Ask("echo served\n"), "served\n\n");
  EXPECT_EQ(idle.front().All(), "") << "the first has lost its place";
  EXPECT_EQ(idle.back().Say("echo too\n").All(), "too\n\n");
}

TEST_F(SocketServerTest, WhereNobodyIsIdleOneMoreIsTurnedAway) {
  Serve();
  std::vector<Client> busy;
  for (size_t i = 0; i < SocketServer::kMostSessions; ++i) {
    busy.emplace_back(path_).Say("wait\n");
  }
  Eventually([this] { return waiting_ == static_cast<int>(SocketServer::kMostSessions); }, "busy");
  EXPECT_EQ(Ask("echo served\n"), "error: too many clients\n");
  busy.pop_back();
  Eventually([this] { return waiting_ < static_cast<int>(SocketServer::kMostSessions); }, "room");
  Eventually([this] { return Sessions() < SocketServer::kMostSessions; }, "room");
  EXPECT_EQ(Ask("echo served\n"), "served\n\n");
}

TEST_F(SocketServerTest, GarbageIsRefusedAndHarmsNobody) {
  Serve();
  std::mt19937 random(20261127);
  for (int round = 0; round < 300; ++round) {
    std::string bytes(random() % 6000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Client client(path_);
    ASSERT_TRUE(client.ok());
    client.Say(bytes);
    switch (round % 3) {
      case 0:
        client.HalfClose().All();
        break;
      case 1:
        client.Say("\n").HalfClose().All();
        break;
      default:
        break;  // and away
    }
  }
  EXPECT_EQ(Ask("echo sane\n"), "sane\n\n");
  Eventually([this] { return Sessions() == 0; }, "nobody is left");
}

TEST_F(SocketServerTest, StopEndsWhoeverTalksAndRemovesTheFile) {
  Serve();
  Client idle(path_), waits(path_), stalled(path_);
  waits.Say("wait\n");
  stalled.Say("much\n");
  Eventually([this] { return waiting_ == 1; }, "one waits");
  End();
  EXPECT_EQ(idle.All(), "");
  EXPECT_EQ(access(path_.c_str(), F_OK), -1);
}

// --- The file ---

TEST_F(SocketServerTest, OnlyTheGroupMayConnect) {
  Serve();
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0660u);
}

TEST_F(SocketServerTest, TheFileOfOneThatDiedIsTakenOver) {
  const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(dead, 1), 0);
  close(dead);
  Serve();
  EXPECT_EQ(Ask("echo mine\n"), "mine\n\n");
}

TEST_F(SocketServerTest, TheFileOfOneThatListensIsLeftAlone) {
  Serve();
  Scheduler scheduler({.max_stacks = 8}, nullptr);
  SocketServer second(
      scheduler, Options(), [](const auto&, Conversation&) {}, [](const std::string&) {});
  EXPECT_EQ(second.Start(),
            "admin socket: cannot listen on " + path_ + ": another process listens there");
  second.Stop();
  EXPECT_EQ(Ask("echo first\n"), "first\n\n");
}

TEST_F(SocketServerTest, AFileThatIsNoSocketIsLeftAlone) {
  close(open(path_.c_str(), O_CREAT | O_WRONLY, 0600));
  auto server = Make(Options());
  EXPECT_EQ(server->Start(), "admin socket: cannot listen on " + path_ +
                                 ": there is a file that is no socket; it is left alone");
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

TEST_F(SocketServerTest, AFolderThatIsNotThereIsSaid) {
  SocketServer::Options options = Options();
  options.path = folder_ + "/none/admin.sock";
  EXPECT_EQ(Make(options)->Start(), "admin socket: cannot listen on " + options.path + ": " +
                                        folder_ + "/none: No such file or directory");
  options.path = "/" + std::string(200, 'x');
  EXPECT_NE(Make(options)->Start().find("longer than 107 bytes"), std::string::npos);
}

TEST_F(SocketServerTest, AFileThatSomebodyElseHasMadeMeanwhileStays) {
  Serve();
  unlink(path_.c_str());
  close(open(path_.c_str(), O_CREAT | O_WRONLY, 0600));
  End();
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace parkway::admin
