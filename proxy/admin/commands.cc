#include "proxy/admin/commands.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "config/quote.h"
#include "config/text.h"
#include "proxy/admin/command_table.h"
#include "proxy/admin/format.h"
#include "proxy/admin/show.h"
#include "proxy/admin/show_state.h"

namespace parkway::admin {

using config::Cat;

namespace {

constexpr uint32_t kMostWeight = 256;
constexpr uint32_t kMostConns = 1'000'000'000;
// Between two lines about how far a drain is.
constexpr absl::Duration kProgressEvery = absl::Seconds(1);
// Until the workers have looked how many there are.
constexpr absl::Duration kCountingPause = absl::Milliseconds(20);

}  // namespace

const Commands::Entry Commands::kEntries[] = {
    {"help", &Commands::Help},
    {"show info", &Commands::ShowInfo},
    {"show stat", &Commands::ShowStat},
    {"show slowest", &Commands::ShowSlowest},
    {"show conns", &Commands::ShowConns},
    {"show conn", &Commands::ShowConn},
    {"show servers", &Commands::ShowServers},
    {"show listeners", &Commands::ShowListeners},
    {"show threads", &Commands::ShowThreads},
    {"show dns", &Commands::ShowDns},
    {"show config", &Commands::ShowConfig},
    {"show limits", &Commands::ShowLimits},
    {"show drains", &Commands::ShowDrains},
    {"show version", &Commands::ShowVersion},
    {"server ready", &Commands::ServerReady},
    {"server drain", &Commands::ServerDrain},
    {"server down", &Commands::ServerDown},
    {"server weight", &Commands::ServerWeight},
    {"server max_conns", &Commands::ServerMaxConns},
    {"server add", &Commands::ServerAdd},
    {"server del", &Commands::ServerDel},
    {"listener pause", &Commands::ListenerPause},
    {"listener resume", &Commands::ListenerResume},
    {"conn kill", &Commands::ConnKill},
    {"set log_level", &Commands::SetLogLevel},
    {"drain", &Commands::Drain},
    {"reload", &Commands::Reload},
};

bool Commands::Misused(Arguments& arguments, Conversation& conversation) {
  const std::string& wrong = arguments.Wrong();
  if (wrong.empty()) return false;
  conversation.reply().Fail(Status::kUsage, wrong);
  return true;
}

void Commands::Execute(const std::vector<std::string_view>& words, Conversation& conversation) {
  size_t used = 0;
  const Command* command = FindCommand(words, &used);
  if (command == nullptr || command->local) {
    conversation.reply().Fail(Status::kUsage, ExplainUnknown(words));
    return;
  }
  Arguments arguments({words.begin() + static_cast<ptrdiff_t>(used), words.end()});
  for (const Entry& entry : kEntries) {
    if (entry.words != command->words) continue;
    const std::string line = config::Join(words, " ");
    (this->*entry.run)(arguments, conversation);
    if (command->changes) {
      const Status status = conversation.reply().status();
      services_.say(Cat("admin: ", conversation.who(), ": ", config::Shown(line), ": ",
                        status == Status::kDone      ? "done"
                        : status == Status::kUsage   ? "not understood"
                        : status == Status::kTimeout ? "not done in time"
                                                     : "refused"));
    }
    return;
  }
}

std::shared_ptr<const Readings> Commands::Read(Arguments& arguments, Conversation& conversation,
                                               bool slowest) {
  if (Misused(arguments, conversation)) return nullptr;
  const auto answer = std::make_shared<std::shared_ptr<const Readings>>();
  services_.read(slowest,
                 [answer, bell = conversation.bell()](std::shared_ptr<const Readings> readings) {
                   *answer = std::move(readings);
                   bell();
                 });
  conversation.WaitUntil([&answer] { return *answer != nullptr; });
  return *answer;
}

void Commands::Conclude(const Outcome& outcome, Conversation& conversation) {
  Reply& reply = conversation.reply();
  if (!outcome.ok) {
    reply.Fail(Status::kRefused, outcome.text);
  } else if (reply.json()) {
    Json json = {{"done", true}, {"text", outcome.text}};
    if (outcome.drain != 0) json["drain"] = outcome.drain;
    reply.Say(Dump(json));
  } else if (!outcome.text.empty()) {
    reply.Say(outcome.text);
  }
}

// ---------------------------------------------------------------------------------------------
// What is looked at

void Commands::Help(Arguments& arguments, Conversation& conversation) {
  const std::string words = arguments.Rest();
  const std::string text = HelpText(words);
  if (text.empty()) {
    conversation.reply().Fail(Status::kUsage, ExplainUnknown(SplitWords(words)));
  } else {
    conversation.reply().Say(text);
  }
}

void Commands::ShowInfo(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(InfoJson(*readings)) : InfoText(*readings));
}

void Commands::ShowStat(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  const std::vector<StatRow> rows = StatRows(*readings, history_);
  if (!reply.json()) {
    reply.Say(StatHeader());
    for (const StatRow& row : rows) {
      if (!reply.Say(StatLine(row))) return;
    }
    return;
  }
  // A row a line, so that a long list need not be in memory as one text.
  reply.Say("[");
  for (size_t i = 0; i < rows.size(); ++i) {
    Json json = Json::object();
    for (size_t column = 0; column < rows[i].size(); ++column) {
      if (!rows[i][column].empty()) json[std::string(StatColumns()[column])] = rows[i][column];
    }
    if (!reply.Say(Dump(json) + (i + 1 < rows.size() ? "," : ""))) return;
  }
  reply.Say("]");
}

void Commands::ShowServers(Arguments& arguments, Conversation& conversation) {
  const std::string upstream(arguments.OptionalWord().value_or(""));
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  if (!upstream.empty() &&
      std::none_of(readings->upstreams.begin(), readings->upstreams.end(),
                   [&upstream](const auto& one) { return one.name == upstream; })) {
    reply.Fail(Status::kRefused, Cat("there is no upstream ", config::Quoted(upstream)));
    return;
  }
  reply.Say(reply.json() ? Dump(ServersJson(*readings, upstream))
                         : ServersText(*readings, upstream));
}

void Commands::ShowListeners(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(ListenersJson(*readings)) : ListenersText(*readings));
}

void Commands::ShowThreads(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(ThreadsJson(*readings)) : ThreadsText(*readings));
}

void Commands::ShowDns(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(DnsJson(*readings)) : DnsText(*readings));
}

void Commands::ShowConfig(Arguments& arguments, Conversation& conversation) {
  const bool runtime = arguments.Switch("runtime");
  if (Misused(arguments, conversation)) return;
  Reply& reply = conversation.reply();
  if (runtime) {
    const std::vector<std::string> changes = services_.control.runtime_changes();
    if (reply.json()) {
      reply.Say(Dump(Json(changes)));
    } else if (changes.empty()) {
      reply.Say("# nothing was changed at run time");
    } else {
      for (const std::string& change : changes) reply.Say(change);
    }
    return;
  }
  const ReloadState state = services_.control.reload_state();
  const std::string text = services_.control.dump_config();
  if (reply.json()) {
    Json json = ReloadJson(state);
    json["flags"] = text;
    json["runtime"] = services_.control.runtime_changes();
    reply.Say(Dump(json));
    return;
  }
  reply.Say(ReloadText(state));
  reply.Say(text);
}

void Commands::ShowLimits(Arguments& arguments, Conversation& conversation) {
  const auto readings = Read(arguments, conversation);
  if (readings == nullptr) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump(LimitsJson(*readings)) : LimitsText(*readings));
}

void Commands::ShowDrains(Arguments& arguments, Conversation& conversation) {
  if (Misused(arguments, conversation)) return;
  Reply& reply = conversation.reply();
  const std::vector<DrainProgress> drains = services_.control.drains();
  reply.Say(reply.json() ? Dump(DrainsJson(drains)) : DrainsText(drains));
}

void Commands::ShowVersion(Arguments& arguments, Conversation& conversation) {
  if (Misused(arguments, conversation)) return;
  Reply& reply = conversation.reply();
  reply.Say(reply.json() ? Dump({{"name", "parkway"}, {"version", services_.version}})
                         : Cat("parkway ", services_.version));
}

// ---------------------------------------------------------------------------------------------
// What is changed

void Commands::ServerReady(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_server_state(upstream, server, Control::ServerWord::kReady, {}),
           conversation);
}

void Commands::ServerDrain(Arguments& arguments, Conversation& conversation) {
  const std::optional<absl::Duration> over = arguments.Time("over");
  const auto [upstream, server] = arguments.Server();
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_server_state(upstream, server, Control::ServerWord::kDrain, over),
           conversation);
}

void Commands::ServerDown(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_server_state(upstream, server, Control::ServerWord::kDown, {}),
           conversation);
}

void Commands::ServerWeight(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  const auto weight = static_cast<uint32_t>(arguments.Number("weight", kMostWeight));
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_server_weight(upstream, server, weight), conversation);
}

void Commands::ServerMaxConns(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  const auto most = static_cast<uint32_t>(arguments.Number("number of connections", kMostConns));
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_server_max_conns(upstream, server, most), conversation);
}

void Commands::ServerAdd(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  const std::string keys = arguments.Rest();
  if (keys.empty()) arguments.SetWrong("addr=ADDRESS is missing");
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.add_server(upstream, Cat("name=", server, " ", keys)), conversation);
}

void Commands::ServerDel(Arguments& arguments, Conversation& conversation) {
  const auto [upstream, server] = arguments.Server();
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.del_server(upstream, server), conversation);
}

void Commands::ListenerPause(Arguments& arguments, Conversation& conversation) {
  const std::string name(arguments.Word("the listener's name"));
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.pause_listener(name), conversation);
}

void Commands::ListenerResume(Arguments& arguments, Conversation& conversation) {
  const std::string name(arguments.Word("the listener's name"));
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.resume_listener(name), conversation);
}

void Commands::SetLogLevel(Arguments& arguments, Conversation& conversation) {
  const std::string level(arguments.Word("the level"));
  if (Misused(arguments, conversation)) return;
  Conclude(services_.control.set_log_level(level), conversation);
}

void Commands::Drain(Arguments& arguments, Conversation& conversation) {
  Control::Drain drain;
  const bool wait = arguments.Switch("wait");
  if (const std::optional<std::string_view> text = arguments.Value("percent"); text.has_value()) {
    uint32_t percent = 0;
    std::string_view number = *text;
    if (number.ends_with('%')) number.remove_suffix(1);
    if (!config::ParseNumber(number, &percent) || percent < 1 || percent > 100) {
      arguments.SetWrong(Cat("--percent: ", config::Quoted(*text), " is none; 1 to 100 is"));
    }
    drain.percent = percent;
  }
  drain.over = arguments.Time("over").value_or(absl::ZeroDuration());
  if (Misused(arguments, conversation)) return;
  const Outcome outcome = services_.control.drain(drain);
  Conclude(outcome, conversation);
  if (wait && outcome.ok && outcome.drain != 0) WatchDrain(outcome.drain, conversation);
}

void Commands::WatchDrain(uint64_t id, Conversation& conversation) {
  Reply& reply = conversation.reply();
  for (;;) {
    const std::vector<DrainProgress> drains = services_.control.drains();
    const auto drain = std::find_if(drains.begin(), drains.end(),
                                    [id](const DrainProgress& one) { return one.id == id; });
    if (drain == drains.end()) return;
    const uint32_t done = drain->total - std::min(drain->left, drain->total);
    // Numbers first: who draws a bar reads them.
    if (drain->counted &&
        !reply.Progress(Cat(done, "/", drain->total, " ", drain->what, ": ", drain->left,
                            drain->left == 1 ? " connection left, " : " connections left, ",
                            ShortTime(drain->passed), " of ", ShortTime(drain->over)))) {
      return;
    }
    if (drain->ended) return;
    if (conversation.WaitUntil(
            [] { return false; },
            conversation.now() + (drain->counted ? kProgressEvery : kCountingPause)) ==
        Conversation::Waited::kGone) {
      return;
    }
  }
}

void Commands::Reload(Arguments& arguments, Conversation& conversation) {
  Control::Reload reload;
  reload.dry_run = arguments.Switch("dry_run");
  reload.reset_runtime = arguments.Switch("reset_runtime");
  const bool wait = arguments.Switch("wait") || reload.dry_run;
  if (Misused(arguments, conversation)) return;
  const auto answer = std::make_shared<std::optional<Outcome>>();
  services_.control.reload(reload, [answer, bell = conversation.bell()](const Outcome& outcome) {
    *answer = outcome;
    bell();
  });
  if (!wait && !answer->has_value()) {
    Conclude(Outcome::Done("reload begun; `show config` says what came of it"), conversation);
    return;
  }
  conversation.WaitUntil([&answer] { return answer->has_value(); });
  if (answer->has_value()) Conclude(**answer, conversation);
}

}  // namespace parkway::admin
