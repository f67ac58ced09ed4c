/*
 * Waiting with a stack: Scheduler::Wait, BlockBegin/Commit/End, Unblock, SetDeadline and Evict on
 * the one word of one reader, with two other threads that cancel.
 *
 * The poller is a process of its own here. In the engine it shares its thread with the reader, so
 * every run of the engine is a run of this model, and the model has more.
 *
 * Holds:   a task leaves the word once a park, is never resumed on a stack in use, and never stays
 *          parked with bytes to read, closed, or expired.
 * Broken:  NO_RECHECK, UNBLOCK_FIRST, PUBLISH_BUFFERED, COMMIT_ON_STACK, RESET_BEFORE_WAIT,
 *          LATCH_BY_STORE, STAY_AFTER_FAILED_COMMIT, PUBLISH_WITHOUT_LOCK
 */
#include "word.pml"

#define CHUNKS 2

mtype rg = NIL;
bool closing, expired;            /* what is so: closing_ and rd_ < 0, under the lock */
bool info_closing, info_expired;  /* what is published: PollInfo */
bool lock;
bool on_stack = true;             /* the reader's stack is in use */
bool parked, runnable;
byte data;                        /* chunks in the receive queue */
bool edge;                        /* epoll has an event */
bool heard;                       /* the reader has returned with an error */

#define ERROR (info_closing || info_expired)

/* PollDesc::Unblock: a load, then compare-exchanges. */
inline Unblock(io) {
  old = rg;
  do
  :: old == READY || (old == NIL && !io) -> break
  :: else ->
#ifdef LATCH_BY_STORE
     /* The latch without a compare-exchange: whoever committed in between is overwritten. */
     if :: old == NIL -> rg = READY; break :: else fi;
#endif
     atomic {
       if
       :: rg == old ->
          rg = (io -> READY : NIL);
          if
          :: old == TASK -> assert(!on_stack); assert(!runnable); runnable = true
          :: else
          fi;
          break
       :: else -> old = rg
       fi
     }
  od
}

/* PollDesc::PublishInfo. One compare-exchange; with PUBLISH_BUFFERED a store that other threads
   see later, which is what release would allow. */
#ifdef PUBLISH_BUFFERED
bool buffered, buffered_closing, buffered_expired;
inline Publish() {
  atomic { buffered = true; buffered_closing = closing; buffered_expired = expired }
}
active proctype StoreBuffer() {
end:
  do
  :: atomic { buffered -> buffered = false;
              info_closing = buffered_closing; info_expired = buffered_expired }
  od
}
#else
inline Publish() { atomic { info_closing = closing; info_expired = expired } }
#endif

inline PublishAndUnblock() {
#ifdef UNBLOCK_FIRST
  if :: closing || expired -> Unblock(false) :: else fi;
  Publish()
#else
  Publish();
  if :: closing || expired -> Unblock(false) :: else fi
#endif
}

/* Socket::Read over Scheduler::Wait. */
active proctype Reader() {
  mtype old; byte got;
attempt:
  if :: ERROR -> goto fail :: else fi;                       /* Reset: CheckError */
  if :: rg != NIL -> assert(rg == READY); rg = NIL :: else fi;   /* ... and the store */
  atomic {                                                   /* Recv takes all there is */
    if
    :: data > 0 -> got = got + data; data = 0;
       if :: got == CHUNKS -> goto out :: else -> goto attempt fi
    :: else
    fi
  };
wait:
  if :: ERROR -> goto fail :: else fi;                       /* Wait: CheckError */
#ifdef RESET_BEFORE_WAIT
  if :: rg != NIL -> rg = NIL :: else fi;
#endif
  atomic {                                                   /* BlockBegin */
    if
    :: rg == READY -> rg = NIL; goto attempt
    :: rg == NIL ->
#ifdef COMMIT_ON_STACK
       rg = TASK
#else
       rg = WAIT
#endif
    :: else -> assert(false)                                 /* double wait */
    fi
  };
#ifndef NO_RECHECK
  if :: ERROR -> goto resumed :: else fi;
#endif
  on_stack = false;                                          /* Park: the scheduler's stack */
#ifdef COMMIT_ON_STACK
  parked = true;
#else
  atomic {                                                   /* BlockCommit */
    if
    :: rg == WAIT -> rg = TASK; parked = true
    :: else ->
#ifdef STAY_AFTER_FAILED_COMMIT
       parked = true
#else
       on_stack = true; goto resumed
#endif
    fi
  };
#endif
end_parked:
  atomic { runnable -> runnable = false; parked = false; on_stack = true };
resumed:
  atomic { old = rg; rg = NIL; assert(old != TASK) };        /* BlockEnd */
  if :: old == READY -> goto attempt :: else -> goto wait fi;
fail:
  heard = true;
out:
  skip
}

active proctype Peer() {
  byte sent;
  do
  :: sent < CHUNKS -> atomic { data++; edge = true; sent++ }
  :: break
  od
}

/* Netpoll::Ready. */
active proctype Poller() {
  mtype old;
end:
  do
  :: atomic { edge -> edge = false }; Unblock(true)
  od
}

/* Another thread, or the reader's own timer: PollDesc::SetDeadline with a time that has passed or
   one far away, and Evict, in any order. */
proctype Canceller(byte calls) {
  mtype old;
  do
  :: calls > 0 ->
     calls--;
#ifdef PUBLISH_WITHOUT_LOCK
     bool c, e;
     Lock(lock);
     if
     :: !closing -> expired = true
     :: !closing -> expired = false
     :: closing = true
     fi;
     atomic { c = closing; e = expired };
     Unlock(lock);
     atomic { info_closing = c; info_expired = e };
     if :: c || e -> Unblock(false) :: else fi
#else
     Lock(lock);
     if
     :: !closing -> expired = true; PublishAndUnblock()
     :: !closing -> expired = false; PublishAndUnblock()
     :: !closing -> closing = true; PublishAndUnblock()
     :: closing
     fi;
     Unlock(lock)
#endif
  :: break
  od
}

init { atomic { run Canceller(2); run Canceller(1) } }

/* When nothing can move any more. */
active proctype Monitor() {
  timeout ->
  assert(!parked || !(data > 0 || closing || expired || runnable));
  assert(info_closing == closing);
  assert(info_expired == expired)
}
