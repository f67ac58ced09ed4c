// TerminationState: how a connection ended, in HAProxy's two letters: what ended it, and in which
// phase; "--" if both sides ended in order.
//
// Any thread.
#ifndef PROXY_OBSERVE_TERMINATION_STATE_H_
#define PROXY_OBSERVE_TERMINATION_STATE_H_

#include <string>

#include "proxy/observe/log_record.h"

namespace parkway {

std::string TerminationState(const ClosedRecord& record);

}  // namespace parkway

#endif  // PROXY_OBSERVE_TERMINATION_STATE_H_
