// The commands about connections.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "config/quote.h"
#include "config/text.h"
#include "config/value.h"
#include "proxy/admin/commands.h"
#include "proxy/admin/conn_text.h"
#include "proxy/admin/show.h"

namespace parkway::admin {

using config::Cat;

namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 60;

void TakeTime(Arguments& arguments, std::string_view name, absl::Duration* time) {
  const std::optional<std::string_view> text = arguments.Above(name);
  if (!text.has_value()) return;
  const absl::StatusOr<absl::Duration> read = config::ParseDuration(*text, {.off = true});
  if (read.ok()) {
    *time = *read;
  } else {
    arguments.SetWrong(Cat(name, ">: ", config::Message(read.status())));
  }
}

void TakeText(Arguments& arguments, std::string_view name, std::string* text) {
  const std::optional<std::string_view> given = arguments.Condition(name);
  if (!given.has_value()) return;
  *text = std::string(*given);
  if (text->empty()) arguments.SetWrong(Cat(name, "= wants a value"));
}

// Whether any condition was given.
bool ReadSelector(Arguments& arguments, ConnSelector* selector) {
  std::string server;
  TakeText(arguments, "src", &selector->source);
  TakeText(arguments, "listener", &selector->listener);
  TakeText(arguments, "upstream", &selector->upstream);
  TakeText(arguments, "server", &server);
  if (!server.empty()) {
    if (const auto name = arguments.SplitServer(server); name.has_value()) {
      if (!selector->upstream.empty() && selector->upstream != name->upstream) {
        arguments.SetWrong("upstream= and server= name different upstreams");
      }
      selector->upstream = name->upstream;
      selector->server = name->server;
    }
  }
  return !selector->source.empty() || !selector->listener.empty() || !selector->upstream.empty();
}

std::optional<uint64_t> ReadConnId(Arguments& arguments) {
  const std::optional<std::string_view> word = arguments.OptionalWord();
  if (!word.has_value()) return std::nullopt;
  uint64_t id = 0;
  if (!config::ParseNumber(*word, &id)) {
    arguments.SetWrong(Cat(config::Quoted(*word), " is no connection's ID"));
  }
  return id;
}

}  // namespace

void Commands::ShowConns(Arguments& arguments, Conversation& conversation) {
  ConnQuestion question;
  ReadSelector(arguments, &question.selector);
  TakeText(arguments, "state", &question.state);
  TakeTime(arguments, "idle", &question.idle);
  TakeTime(arguments, "age", &question.age);
  if (const auto text = arguments.Above("bytes"); text.has_value()) {
    const absl::StatusOr<uint64_t> bytes = config::ParseSize(*text, 0, kMostBytes);
    if (bytes.ok()) {
      question.bytes = *bytes;
    } else {
      arguments.SetWrong(Cat("bytes>: ", config::Message(bytes.status())));
    }
  }
  uint64_t limit = UINT64_MAX;
  if (const auto text = arguments.Condition("limit");
      text.has_value() && !config::ParseNumber(*text, &limit)) {
    arguments.SetWrong(Cat("limit: ", config::Quoted(*text), " is no number"));
  }
  if (Misused(arguments, conversation)) return;
  Reply& reply = conversation.reply();
  std::string wrong;
  const std::unique_ptr<ConnStream> stream =
      services_.ask_for_conns(question, conversation.bell(), &wrong);
  if (stream == nullptr) {
    reply.Fail(Status::kRefused, wrong);
    return;
  }
  reply.Say(reply.json() ? "[" : ConnHeading());
  uint64_t said = 0;
  while (said < limit) {
    const auto waited =
        conversation.WaitUntil([&stream] { return stream->has_rows() || stream->done(); });
    if (waited != Conversation::Waited::kYes) return;
    if (stream->done()) break;
    for (const ConnRow& row : stream->Take()) {
      if (said == limit) break;
      const std::string line =
          reply.json() ? Cat(said > 0 ? "," : "", Dump(ConnJson(row))) : ConnLine(row);
      if (!reply.Say(line)) return;
      ++said;
    }
  }
  if (reply.json()) reply.Say("]");
}

void Commands::ShowSlowest(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation, true);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(SlowestJson(*readings)) : SlowestText(*readings));
}

void Commands::ShowConn(Arguments& arguments, Conversation& conversation) {
  ConnQuestion question;
  question.selector.id = ReadConnId(arguments);
  question.addresses = true;
  if (!question.selector.id.has_value()) arguments.SetWrong("the connection's ID is missing");
  if (Misused(arguments, conversation)) return;
  Reply& reply = conversation.reply();
  std::string wrong;
  const std::unique_ptr<ConnStream> stream =
      services_.ask_for_conns(question, conversation.bell(), &wrong);
  std::vector<ConnRow> found;
  while (found.empty() && !stream->done()) {
    if (conversation.WaitUntil([&stream] { return stream->has_rows() || stream->done(); }) !=
        Conversation::Waited::kYes) {
      return;
    }
    found = stream->Take();
  }
  if (found.empty()) {
    reply.Fail(Status::kRefused,
               Cat("there is no open connection with the ID ", *question.selector.id));
    return;
  }
  if (!reply.json()) {
    reply.Say(ExplainConn(found.front()));
    return;
  }
  Json json = ConnJson(found.front());
  json["client_to_server"] = ExplainWay(found.front(), false);
  json["server_to_client"] = ExplainWay(found.front(), true);
  reply.Say(Dump(json));
}

void Commands::ConnKill(Arguments& arguments, Conversation& conversation) {
  ConnSelector selector;
  const bool any = ReadSelector(arguments, &selector);
  selector.id = ReadConnId(arguments);
  if (!any && !selector.id.has_value()) {
    arguments.SetWrong("which ones? ID, src=, server=, listener= or upstream= is missing");
  }
  if (Misused(arguments, conversation)) return;
  const auto answer = std::make_shared<std::optional<Outcome>>();
  services_.control.kill(selector, [answer, bell = conversation.bell()](const Outcome& outcome) {
    *answer = outcome;
    bell();
  });
  conversation.WaitUntil([&answer] { return answer->has_value(); });
  if (answer->has_value()) Conclude(**answer, conversation);
}

}  // namespace parkway::admin
