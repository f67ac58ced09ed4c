/*
 * Waiting without a stack: a session of two tasks, each waiting for one descriptor; the commit is
 * made after the entry returned (Scheduler::CommitIdle, WokenIdle), a task that was taken by
 * another thread is on its way until it is posted, and the last task that leaves frees the session.
 *
 * The owner is one thread, as in the engine: polling, taking the inbox, activations and a local
 * abort are steps of one process. The remote thread evicts or expires by handle.
 *
 * Holds:   a task is queued at most once, nobody touches a session that was freed, and no task
 *          stays in its word with an event, an expiry or an eviction; who was evicted ends.
 * Broken:  NO_RECHECK, UNBLOCK_FIRST, RETRACT_BY_STORE, FREE_BY_FIRST, FREE_BY_WORDS,
 *          COMMIT_IN_ENTRY, NO_HANDLE_CHECK
 */
#include "word.pml"

mtype word[2] = NIL;
bool closing[2], expired[2], info_closing[2], info_expired[2], lock[2];
bool stale[2];          /* the descriptor was closed: fdseq has moved on */
bool edge[2], data[2];
bool queued[2], inbox[2], live[2];
bool ending, freed;

#define ERROR(i) (info_closing[i] || info_expired[i])

/* PollDesc::Unblock on the word of task i. Gives `taken`. */
inline Unblock(i, io) {
  taken = false;
  old = word[i];
  do
  :: old == READY || (old == NIL && !io) -> break
  :: else ->
     atomic {
       if
       :: word[i] == old ->
          word[i] = (io -> READY : NIL);
          if :: old == TASK -> assert(!freed); taken = true :: else fi;
          break
       :: else -> old = word[i]
       fi
     }
  od
}

inline Publish(i) { atomic { info_closing[i] = closing[i]; info_expired[i] = expired[i] } }

/* What SetDeadline and Evict do under the lock after the fields have changed. */
inline PublishAndUnblock(i) {
#ifdef UNBLOCK_FIRST
  Unblock(i, false);
  Publish(i)
#else
  Publish(i);
  Unblock(i, false)
#endif
}

inline Queue(i) { assert(!queued[i]); assert(!freed); queued[i] = true }

/* Scheduler::Evict. */
inline LocalEvict(i) {
  Lock(lock[i]);
  taken = false;
  if
  :: !closing[i] -> closing[i] = true; PublishAndUnblock(i)
  :: else
  fi;
  Unlock(lock[i]);
  atomic {
    if :: taken -> Queue(i) :: else fi;
    old = NIL; taken = false
  }
}

/* Session::Leave and AllLeft. */
inline Leave(i) {
  live[i] = false;
#ifdef FREE_BY_FIRST
  if :: true -> skip :: false fi;
#elif defined(FREE_BY_WORDS)
  if :: word[1 - i] == TASK -> goto done :: else fi;
#else
  if :: live[1 - i] -> goto done :: else fi;
#endif
  Lock(lock[0]);
  assert(closing[0] && word[0] != TASK);
  stale[0] = true;
  Unlock(lock[0]);
  Lock(lock[1]);
  assert(closing[1] && word[1] != TASK);
  stale[1] = true;
  Unlock(lock[1]);
  freed = true;
  goto gone
}

/* Scheduler::Activate for a task in state kIdle, until it waits again or is done. */
inline Activate(i) {
  queued[i] = false;
  assert(!freed);
  assert(live[i]);
  atomic { old = word[i]; word[i] = NIL; assert(old != TASK) };     /* WokenIdle: BlockEnd */
  if
  :: old == READY || ERROR(i) -> skip
  :: else -> goto commit
  fi;
entry:                                                              /* RunFromEntry */
  assert(!freed);
#ifdef COMMIT_IN_ENTRY
  /* The entry puts itself into the word and then goes on. */
  atomic { if :: word[i] == NIL -> word[i] = TASK :: else -> word[i] = NIL fi };
#endif
  if :: ending -> Leave(i) :: else fi;
  if
  :: ERROR(i) ->                                                    /* Wake::kClosing, kTimeout */
     ending = true;
     LocalEvict(0);
     LocalEvict(1);
     Leave(i)
  :: else
  fi;
  atomic { if :: data[i] -> data[i] = false :: else fi };           /* read what there is */
#ifdef COMMIT_IN_ENTRY
  goto done;
#endif
commit:                                                             /* CommitIdle */
  atomic {
    if
    :: word[i] == NIL -> word[i] = TASK
    :: word[i] == READY -> word[i] = NIL; goto entry
    :: else -> assert(false)                                        /* double wait */
    fi
  };
#ifndef NO_RECHECK
  if
  :: ERROR(i) ->                                                    /* RetractIdle */
#ifdef RETRACT_BY_STORE
     word[i] = NIL; goto entry
#else
     atomic {
       if
       :: word[i] == TASK -> word[i] = NIL; goto entry
       :: else                                                      /* another thread has it */
       fi
     }
#endif
  :: else
  fi;
#endif
done:
  atomic { old = NIL; taken = false; t = 0 }
}

active proctype Owner() {
  mtype old = NIL; bool taken; bool aborted;
  byte t;
  live[0] = true; live[1] = true;
  queued[0] = true; queued[1] = true;
end:
  do
  :: queued[0] || queued[1] ->
     if :: queued[0] -> t = 0 :: queued[1] -> t = 1 fi;
     Activate(t)
  :: inbox[0] || inbox[1] ->                                        /* Inbox::TakeTasks */
     atomic {
       if :: inbox[0] -> inbox[0] = false; Queue(0) :: else fi;
       if :: inbox[1] -> inbox[1] = false; Queue(1) :: else fi
     }
  :: edge[0] || edge[1] ->                                          /* Netpoll::Ready */
     if :: edge[0] -> t = 0 :: edge[1] -> t = 1 fi;
     edge[t] = false;
     Unblock(t, true);
     atomic {
       if :: taken -> Queue(t) :: else fi;
       old = NIL; taken = false; t = 0
     }
  :: !aborted && !ending ->                                         /* Session::Abort */
     aborted = true;
     ending = true;
     LocalEvict(0);
     LocalEvict(1)
  od;
gone:
  /* The memory is somebody else's; so is the descriptor, under a new sequence. */
  atomic { closing[0] = false; closing[1] = false; info_closing[0] = false; info_closing[1] = false }
end_gone:
  do
  :: inbox[0] || inbox[1] -> assert(false)
  od
}

active proctype Peer() {
  if :: atomic { data[0] = true; edge[0] = true } :: skip fi;
  if :: atomic { data[1] = true; edge[1] = true } :: skip fi
}

/* RemoteEvict, RemoteSetDeadline. The word changes under the lock; the post comes after it. */
proctype Remote(byte i) {
  mtype old = NIL; bool taken;
  Lock(lock[i]);
  if
#ifdef NO_HANDLE_CHECK
  :: closing[i]
  :: !closing[i] -> assert(!stale[i]); closing[i] = true; PublishAndUnblock(i)
#else
  :: stale[i] || closing[i]
  :: !(stale[i] || closing[i]) -> closing[i] = true; PublishAndUnblock(i)
  :: !(stale[i] || closing[i]) -> expired[i] = true; PublishAndUnblock(i)
  :: !(stale[i] || closing[i]) && expired[i] -> expired[i] = false; Publish(i)
#endif
  fi;
  atomic { Unlock(lock[i]); old = NIL };
  if :: taken -> assert(!freed); assert(!inbox[i] && !queued[i]); inbox[i] = true :: else fi
}

init { atomic { run Remote(0); run Remote(0); run Remote(1) } }

active proctype Monitor() {
  byte i;
  timeout ->
  assert(freed || !(word[0] == TASK && (data[0] || ERROR(0) || closing[0] || expired[0])));
  assert(freed || !(word[1] == TASK && (data[1] || ERROR(1) || closing[1] || expired[1])));
  assert(freed || !(ending || closing[0] || closing[1] || expired[0] || expired[1]))
}
