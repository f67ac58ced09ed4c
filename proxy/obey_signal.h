// ObeySignal: what each signal means to the daemon.
//
//   TERM, INT     stop within drain_timeout; a second one: now
//   QUIT          stop, however long connections take
//   HUP           reload; listeners that a signal has paused accept again
//   USR1          open logs again
//   USR2          nothing: it is kept for handing over to a new binary
//   WINCH, TTOU   listeners pause     } only without a controlling terminal, whose
//   TTIN          and accept again    } signals they are otherwise
//
// Control thread only.
#ifndef PROXY_OBEY_SIGNAL_H_
#define PROXY_OBEY_SIGNAL_H_

#include <functional>
#include <string>

#include "proxy/control.h"
#include "proxy/ending.h"
#include "proxy/holds.h"

namespace parkway {

void ObeySignal(int number, const Control& control, Holds& holds, Ending& ending,
                const std::function<void(const std::string& line)>& say);

}  // namespace parkway

#endif  // PROXY_OBEY_SIGNAL_H_
