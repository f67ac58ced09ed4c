"""The faults that tests/mutants/run plants, and the tests that are to catch them.

Each is one or more replacements of text that occurs exactly once in its file. When the code
changes so that the text is gone, the run says so: write the fault anew, as it would be made today.
"""

from typing import NamedTuple


class Edit(NamedTuple):
    file: str
    old: str
    new: str


class Fault(NamedTuple):
    name: str
    why: str  # what goes wrong in production
    edits: list[Edit]
    tests: list[str]


POLL_DESC = "//tests/poller:poll_desc_test"
NETPOLL = "//tests/poller:netpoll_test"
SCHEDULER = "//tests/poller:scheduler_test"
SHORT_READ = "//tests/poller:short_read_test"
RELAY = "//tests/proxy:relay_test"
SESSION = "//tests/proxy:session_test"
SIMULATION = "//tests/proxy:simulation_test"
BALANCER = "//tests/proxy:balancer_test"
DIALER = "//tests/poller:listener_dialer_test"
SLOT_REAPER = "//tests/proxy:slot_reaper_test"
WAKE_TIMER = "//tests/poller:wake_timer_test"

FAULTS = [
    Fault(
        "no_recheck_after_announce",
        "an eviction between the check and the announcement is never seen",
        [
            Edit(
                "poller/scheduler.cc",
                "    if (desc.CheckError(direction) == WaitResult::kReady) {\n      Task::Parking parking",
                "    {\n      Task::Parking parking",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "no_recheck_after_idle_commit",
        "the same for a task without a stack",
        [
            Edit(
                "poller/scheduler.cc",
                "  if (error == WaitResult::kReady) return false;\n  if (!desc.RetractIdle",
                "  if (true) return false;\n  if (!desc.RetractIdle",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "unblock_before_publish",
        "who announces itself in between parks for ever",
        [
            Edit(
                "poller/poll_desc.cc",
                """  PublishInfo();
  change.woken.reader = Unblock(Direction::kRead, false);
  change.woken.writer = Unblock(Direction::kWrite, false);
""",
                """  change.woken.reader = Unblock(Direction::kRead, false);
  change.woken.writer = Unblock(Direction::kWrite, false);
  PublishInfo();
""",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "unblock_before_publish_of_a_timeout",
        "the same for a deadline that passes",
        [
            Edit(
                "poller/poll_desc.cc",
                """  PublishInfo();
  if (read) result.woken.reader = Unblock(Direction::kRead, false);
  if (write) result.woken.writer = Unblock(Direction::kWrite, false);
""",
                """  if (read) result.woken.reader = Unblock(Direction::kRead, false);
  if (write) result.woken.writer = Unblock(Direction::kWrite, false);
  PublishInfo();
""",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "push_later_bumps_rseq",
        "the armed timer is stale, and the deadline is missed by its own timer",
        [
            Edit(
                "poller/poll_desc.cc",
                "  return stored.compare_exchange_strong("
                "old, deadline.ns(), std::memory_order_relaxed);",
                """  LeafLockGuard guard(lock_);
  ++(direction == Direction::kRead ? rseq_ : wseq_);
  return stored.compare_exchange_strong(old, deadline.ns(), std::memory_order_relaxed);""",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "push_later_by_store",
        "a shortening by another thread is undone",
        [
            Edit(
                "poller/poll_desc.cc",
                "  return stored.compare_exchange_strong("
                "old, deadline.ns(), std::memory_order_relaxed);",
                """  stored.store(deadline.ns(), std::memory_order_relaxed);
  return true;""",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "no_fdseq_check",
        "an event of a closed connection wakes the next one",
        [
            Edit(
                "poller/netpoll.cc",
                "  if (desc == nullptr || desc->fdseq() != fdseq) return;",
                "  if (desc == nullptr) return;",
            )
        ],
        [NETPOLL],
    ),
    Fault(
        "no_fdseq_check_of_a_hangup",
        "a hang-up is told to the next owner of the descriptor",
        [
            Edit(
                "poller/scheduler.cc",
                "    if (desc->fdseq() != polled_.hangups[i].fdseq || delegate_ == nullptr) continue;",
                "    if (delegate_ == nullptr) continue;",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "short_read_trusted_despite_rdhup",
        "a FIN that came with the last bytes is never looked for",
        [
            Edit(
                "poller/socket.cc",
                "  if ((bits & (PollDesc::kHangup | PollDesc::kUrgent)) == 0) {",
                "  if ((bits & PollDesc::kUrgent) == 0) {",
            )
        ],
        [SHORT_READ],
    ),
    Fault(
        "short_read_trusted_despite_pri",
        "the bytes behind an urgent mark stay in the queue",
        [
            Edit(
                "poller/socket.cc",
                "  if ((bits & (PollDesc::kHangup | PollDesc::kUrgent)) == 0) {",
                "  if ((bits & PollDesc::kHangup) == 0) {",
            )
        ],
        [SHORT_READ],
    ),
    Fault(
        "short_read_at_a_mark_taken_for_the_end",
        "the bytes behind an urgent mark are lost when the FIN has come",
        [
            Edit(
                "poller/socket.cc",
                "  } else if ((bits & (PollDesc::kError | PollDesc::kUrgent)) == 0) {",
                "  } else if ((bits & PollDesc::kError) == 0) {",
            )
        ],
        [SHORT_READ],
    ),
    Fault(
        "rest_of_a_short_write_dropped",
        "bytes are missing in the middle of a stream",
        [
            Edit(
                "proxy/session/relay.cc",
                "      const bool held = Hold(tools.buffer + sent, got.bytes - sent, tools);",
                "      const bool held = sent > 0 || Hold(tools.buffer + sent, got.bytes - sent, tools);",
            )
        ],
        [RELAY],
    ),
    Fault(
        "rest_of_a_splice_dropped",
        "the same in bulk",
        [
            Edit(
                "proxy/session/relay.cc",
                "  if (held_ == 0) ReturnHands(tools);\n  return true;",
                "  ReturnHands(tools);\n  return true;",
            )
        ],
        [RELAY],
    ),
    Fault(
        "fin_sent_before_the_rest",
        "the receiver takes a part for the whole",
        [
            Edit(
                "proxy/session/relay.cc",
                "      if (ok) step.outcome = Outcome::kAwaitWritable;",
                "      if (ok) step.outcome = got.end ? Outcome::kEnd : Outcome::kAwaitWritable;",
            )
        ],
        [RELAY],
    ),
    Fault(
        "error_eaten_by_the_other_direction",
        "a reset that a write met first looks like a FIN to the reader",
        [
            Edit(
                "poller/socket.cc",
                "    if (bits & PollDesc::kError) {",
                "    if (false) {",
            )
        ],
        [SHORT_READ],
    ),
    Fault(
        "error_eaten_by_the_other_direction_taken_for_a_fin",
        "the same where no event has told of the reset yet",
        [
            Edit(
                "proxy/session/session.cc",
                "      if (phase_ == Phase::kResetting) break;\n      return OnEnd(flow);",
                "      return OnEnd(flow);",
            )
        ],
        [SESSION],
    ),
    Fault(
        "hangup_that_nobody_waits_for_forgotten",
        "a reset is noticed only when somebody reads again",
        [
            Edit(
                "proxy/session/session.cc",
                "    case Phase::kRelaying:\n      OnSideError(side, 0);\n      return;",
                "    case Phase::kRelaying:\n      return;",
            )
        ],
        [SESSION],
    ),
    Fault(
        "reset_without_an_attempt",
        "an edge that came after the last read is dropped",
        [
            Edit(
                "poller/scheduler.cc",
                "    WaitResult error = desc.CheckError(direction);\n"
                "    if (error != WaitResult::kReady) return error;\n",
                "    WaitResult error = desc.Reset(direction);\n"
                "    if (error != WaitResult::kReady) return error;\n",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "inbox_not_looked_at_before_sleep",
        "what was posted just before the sleep lies there until something else happens",
        [
            Edit(
                "poller/scheduler.cc",
                "    if (inbox_.empty() && !stop_.load(std::memory_order_seq_cst)) {",
                "    if (!stop_.load(std::memory_order_seq_cst)) {",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "remote_evict_without_handle_check",
        "a kill that comes late ends somebody else's connection",
        [
            Edit(
                "poller/poll_desc.cc",
                "  // Idempotent, because a kill, a drain and a local close do race.\n"
                "  if (fdseq() != expected || closing_) return change;",
                "  // Idempotent, because a kill, a drain and a local close do race.\n"
                "  if (expected == 0 || closing_) return change;",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "remote_deadline_without_handle_check",
        "a deadline that comes late is set on somebody else's connection",
        [
            Edit(
                "poller/poll_desc.cc",
                "  LeafLockGuard guard(lock_);\n"
                "  if (fdseq() != expected || closing_) return change;\n"
                "  change.applied = true;\n  if (Has(",
                "  LeafLockGuard guard(lock_);\n"
                "  if (expected == 0 || closing_) return change;\n"
                "  change.applied = true;\n  if (Has(",
            )
        ],
        [POLL_DESC],
    ),
    Fault(
        "double_wake_up",
        "a task that another thread has taken is queued by its owner as well",
        [
            Edit(
                "poller/scheduler.cc",
                "  if (!desc.RetractIdle(direction, &task)) return false;",
                "  static_cast<void>(desc.RetractIdle(direction, &task));",
            )
        ],
        [SCHEDULER],
    ),
    Fault(
        "reset_while_the_send_queue_is_full",
        "what the kernel had taken is thrown away by the reset",
        [
            Edit(
                "proxy/session/session.cc",
                "  if (queued <= 0 || waited >= times().delayed_close_ns) {",
                "  if (true || waited >= times().delayed_close_ns) {",
            )
        ],
        [SESSION],
    ),
    Fault(
        "freed_by_the_first_task_that_leaves",
        "the other task of the session runs in memory that is somebody else's",
        [
            Edit(
                "proxy/session/session.cc",
                "  if (!up_.live && !down_.live) AllLeft();\n  return Next::Done();",
                "  AllLeft();\n  return Next::Done();",
            )
        ],
        [SESSION],
    ),
    Fault(
        "bytes_dropped_without_a_reset",
        "who gets only a part is told that this is all",
        [
            Edit(
                "proxy/session/session.cc",
                "  if (lost_down > 0) reset_client_ = true;",
                "  static_cast<void>(lost_down);",
            )
        ],
        [SESSION],
    ),
    Fault(
        "splice_end_believed",
        "an urgent mark before a FIN ends the stream early",
        [
            Edit(
                "proxy/session/relay.cc",
                "    if (in.error == EINVAL) {",
                "    if (in.error == 0) {\n      source_ended_ = true;\n      return true;\n    }\n    if (in.error == EINVAL) {",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "splice_eagain_believed",
        "a direction sleeps for ever at an urgent mark",
        [
            Edit(
                "proxy/session/relay.cc",
                "if (in.would_block() && (source.edge_bits() & doubts) == 0) {",
                "if (in.would_block() && doubts != 0) {",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "backlog_not_emptied",
        "a drain resets who stands in the queue",
        [
            Edit(
                "proxy/inbound/acceptor.cc",
                "  EmptyQueue();\n  if (closing_",
                "  if (closing_",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "no_grace_for_handshakes",
        "a drain resets whose last packet is under way",
        [
            Edit(
                "proxy/inbound/acceptor.cc",
                "if (closing_ == Closing::kAsked && !is_unix_",
                "if (false && !is_unix_",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "bulk_in_the_foreground",
        "a small message waits for tens of megabytes",
        [
            Edit(
                "proxy/session/session.cc",
                "    flow.set_background(flow.relay.bulk());\n",
                "",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "blocked_source_not_registered",
        "a reset is found out when the sink takes bytes again",
        [
            Edit(
                "proxy/session/session.cc",
                "if (phase_ == Phase::kRelaying && !Heard(source)) return Leave(flow);",
                "static_cast<void>(source);",
            )
        ],
        [SESSION],
    ),
    Fault(
        "kernel_queue_forgotten_at_a_timeout",
        "bytes in a receive queue are dropped with a FIN",
        [
            Edit(
                "proxy/session/session.cc",
                "if (!up_.done && HasUnread(*client_)) reset_server_ = true;",
                "static_cast<void>(HasUnread);",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "clock_read_twice",
        "a turn has two times",
        [
            Edit(
                "poller/scheduler.cc",
                "  now_ = ReadMonotonicClock();\n  turns_",
                "  now_ = ReadMonotonicClock();\n  now_ = ReadMonotonicClock();\n  turns_",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "slot_given_away_under_a_session",
        "a connection is told of, and counted, under the name of another listener or server",
        [
            Edit(
                "proxy/slot_use.cc",
                "  question.Use({.kind = SlotRef::Kind::kListener, .slot = session.listener});\n",
                "  if (session.id() != 0) return;\n",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "slot_given_away_under_a_walk",
        "conn kill listener=NAME ends connections of the listener that got the slot meanwhile",
        [
            Edit(
                "proxy/conn_stream.h",
                "  bool busy() const { return asked_ > 0; }\n",
                "  bool busy() const { return false; }\n",
            )
        ],
        [SLOT_REAPER],
    ),
    Fault(
        "removed_server_is_chosen_by_an_older_view",
        "a worker that has not heard of the reload sends clients to a server that is gone",
        [
            Edit(
                "proxy/upstream/balancer.cc",
                "    roster.server(i).Raise(Server::kGone);\n",
                "",
            )
        ],
        [BALANCER, SIMULATION],
    ),
    Fault(
        "client_taken_for_silent_though_it_was_listened_to",
        "what it said while it waited for a server is never read",
        [
            Edit(
                "proxy/inbound/attempts.cc",
                "error == 0 && local && first_wait && !client",
                "error == 0 && local && !client",
            )
        ],
        [SIMULATION],
    ),
    Fault(
        "any_wake_up_is_a_connection",
        "a server that never answered is taken for connected",
        [
            Edit(
                "poller/dialer.cc",
                "    const int error = TakeSocketError(desc);\n",
                "    break;\n    const int error = TakeSocketError(desc);\n",
            )
        ],
        [DIALER],
    ),
    Fault(
        "a_later_timer_is_taken_for_early_enough",
        "a worker sleeps past its timers",
        [
            Edit(
                "poller/wake_timer.cc",
                "if (set_to_ > now && set_to_ <= wake) return -1;",
                "if (set_to_ > now) return -1;",
            )
        ],
        [WAKE_TIMER],
    ),
    Fault(
        "a_fired_timer_is_taken_for_set",
        "a worker sleeps for ever once its timer has fired",
        [
            Edit(
                "poller/wake_timer.cc",
                "if (set_to_ > now && set_to_ <= wake) return -1;",
                "if (set_to_.ns() != 0 && set_to_ <= wake) return -1;",
            )
        ],
        [WAKE_TIMER],
    ),
    Fault(
        "room_is_never_told_of",
        "a direction that is blocked stays so",
        [
            Edit(
                "poller/scheduler.cc",
                "  netpoll_.Unmute(desc, direction);\n  if (!desc.CommitIdle",
                "  if (direction == Direction::kRead) netpoll_.Unmute(desc, direction);\n  if (!desc.CommitIdle",
            )
        ],
        [SIMULATION, SESSION],
    ),
    Fault(
        "error_found_while_topping_up_is_forgotten",
        "a unix server's reset arrives as an end in order",
        [
            Edit(
                "proxy/session/relay.cc",
                "    source.add_edge_bits(PollDesc::kError);\n",
                "",
            )
        ],
        [RELAY],
    ),
    Fault(
        "end_without_a_new_sequence_of_timers",
        "a timer of an earlier use expires the next",
        [
            Edit(
                "poller/poll_desc.cc",
                "  if (!closing_) {\n    closing_ = true;\n    ++rseq_;\n    ++wseq_;\n  }\n",
                "  closing_ = true;\n",
            )
        ],
        [POLL_DESC],
    ),
]
