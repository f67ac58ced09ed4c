#include "proxy/observe/termination_state.h"

#include "proxy/core/close_cause.h"

namespace parkway {

namespace {

// What belongs to whom when nobody moved: the one that was still to say something.
bool ClientHasEnded(const ClosedRecord& record) {
  return record.first_closer == FirstCloser::kClient;
}

char FirstLetter(const ClosedRecord& record) {
  switch (record.cause) {
    case CloseCause::kClientFin:
    case CloseCause::kServerFin:
      if (record.phase == EndPhase::kRelaying) return '-';
      return record.cause == CloseCause::kClientFin ? 'C' : 'S';
    case CloseCause::kClientRst:
    case CloseCause::kClientNetError:
      return 'C';
    case CloseCause::kServerRst:
    case CloseCause::kServerNetError:
    case CloseCause::kConnectRefused:
    case CloseCause::kConnectUnreachable:
    case CloseCause::kNoServer:
    case CloseCause::kQueueFull:
      return 'S';
    case CloseCause::kIdle:
    case CloseCause::kClientTimeout:
    case CloseCause::kPrereadTimeout:
      return 'c';
    case CloseCause::kServerTimeout:
    case CloseCause::kConnectTimeout:
    case CloseCause::kQueueTimeout:
      return 's';
    case CloseCause::kHalfCloseTimeout:
      return ClientHasEnded(record) ? 's' : 'c';
    case CloseCause::kServerDown:
    case CloseCause::kServerRemoved:
      return 'D';
    case CloseCause::kPrimaryBack:
      return 'U';
    case CloseCause::kLocalPortExhausted:
    case CloseCause::kLocalResources:
    case CloseCause::kLimitMemory:
      return 'R';
    case CloseCause::kDenied:
    case CloseCause::kLimitListener:
    case CloseCause::kLimitSource:
    case CloseCause::kProxyHeaderBad:
    case CloseCause::kNoRoute:
      return 'P';
    case CloseCause::kLifetime:
    case CloseCause::kDrain:
    case CloseCause::kAdminKill:
      return 'K';
    case CloseCause::kNone:
    case CloseCause::kInternal:
    case CloseCause::kCount:
      break;
  }
  return 'I';
}

char SecondLetter(const ClosedRecord& record) {
  switch (record.phase) {
    case EndPhase::kReceiving:
      return record.cause == CloseCause::kNoServer ? 'C' : 'R';
    case EndPhase::kQueued:
      return 'Q';
    case EndPhase::kConnecting:
      return 'C';
    case EndPhase::kRelaying:
      break;
  }
  return 'D';
}

}  // namespace

std::string TerminationState(const ClosedRecord& record) {
  const char first = FirstLetter(record);
  return first == '-' ? "--" : std::string{first, SecondLetter(record)};
}

}  // namespace parkway
