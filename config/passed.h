// Passed: which listener each socket belongs to that a service manager opened for us (systemd's
// socket activation).
//
// A socket serves the listener that has its name (FileDescriptorName=), and listens on one of that
// listener's addresses. A listener without addr= has the addresses of all sockets of its name. A
// socket that no listener claims is an error: its clients would be let in by nobody.
//
// Pure function: any thread.
#ifndef CONFIG_PASSED_H_
#define CONFIG_PASSED_H_

#include <vector>

#include "config/declarations.h"
#include "config/snapshot.h"
#include "config/source.h"

namespace parkway::config {

// Gives listeners without addresses those of `facts.passed`, and says what does not fit. Where a
// configuration is only looked at, none may have been passed.
void ClaimPassedSockets(const SystemFacts& facts, bool looks, std::vector<ListenLine>* listens,
                        Problems* problems);

}  // namespace parkway::config

#endif  // CONFIG_PASSED_H_
