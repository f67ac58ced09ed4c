#include "proxy/obey_signal.h"

#include <signal.h>
#include <string.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proxy/system/signals.h"

namespace parkway {

void ObeySignal(int number, const Control& control, Holds& holds, Ending& ending,
                const std::function<void(const std::string& line)>& say) {
  const std::string who = absl::StrCat("signal ", strsignal(number));
  switch (number) {
    case SIGTERM:
    case SIGINT:
      ending.Ask(Control::StopHow::kDrain, who);
      return;
    case SIGQUIT:
      ending.Ask(Control::StopHow::kWait, who);
      return;
    case SIGHUP:
      holds.HoldAll(false);
      say(absl::StrCat(who, ": reload"));
      control.reload({}, [](const Outcome&) {});
      return;
    case SIGUSR1:
      say(absl::StrCat(who, ": ", control.reopen_logs().text));
      return;
    case SIGUSR2:
      say(absl::StrCat(who, ": this is for handing over to a new binary, which this version ",
                       "cannot do; nothing was changed"));
      return;
    case SIGWINCH:
    case SIGTTOU:
      if (HasTerminal()) return;
      holds.HoldAll(true);
      say(absl::StrCat(who, ": listeners pause, clients wait in the backlog"));
      return;
    case SIGTTIN:
      if (HasTerminal()) return;
      holds.HoldAll(false);
      say(absl::StrCat(who, ": listeners accept again",
                       holds.named().empty() ? "" : ", but for those that an operator has paused: ",
                       absl::StrJoin(holds.named(), ",")));
      return;
  }
}

}  // namespace parkway
