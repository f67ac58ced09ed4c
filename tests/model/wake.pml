/*
 * Sleeping and waking: Inbox::Push and Netpoll::Break against Scheduler::Turn. The eventfd is
 * edge-triggered and never read: a write makes an edge, epoll_pwait2 takes it.
 *
 * Holds:   the worker never sleeps while the inbox holds something or a stop was asked for, and
 *          one sleep is ended by at most one write.
 * Broken:  NO_LOOK, LOOK_FIRST, ANNOUNCE_BUFFERED, BREAK_FIRST, BREAK_BY_LOAD, NO_STOP_LOOK
 *
 * GO_FLAG is Go's way (wakeSig and a level-triggered eventfd that is read), which holds as well;
 * GO_FLAG with CLEAR_FIRST (the flag is cleared before the eventfd is read) is broken. It stands
 * here because it is what our way, which reads nothing, need not get right.
 */

#define POSTERS 3

byte inbox;        /* what was pushed and not taken */
bool sleeping;
bool fd;           /* edge pending (ours), or count not zero (GO_FLAG) */
bool flag;         /* GO_FLAG: wakeSig */
bool stop;
bool socket_edge;  /* something else ends a sleep */
bool blocked;      /* in epoll_pwait2 with a timeout */
byte wins;         /* exchanges won since the sleep was announced */

#ifdef GO_FLAG
inline Break() {
  atomic { won = !flag; flag = true };
  if :: won -> fd = true :: else fi
}
#else
inline Break() {
#ifdef BREAK_BY_LOAD
  won = sleeping;
  if :: won -> sleeping = false; wins++; assert(wins <= 1) :: else fi;
#else
  atomic {
    won = sleeping; sleeping = false;
    if :: won -> wins++; assert(wins <= 1) :: else fi
  };
#endif
  if :: won -> fd = true :: else fi
}
#endif

/* Scheduler::PostReady, Post. */
proctype Poster() {
  bool won;
#ifdef BREAK_FIRST
  Break();
  inbox++
#else
  inbox++;
  Break()
#endif
}

/* Scheduler::Stop. */
active proctype Stopper() {
  bool won;
  if
  :: stop = true; Break()
  :: skip
  fi
}

active proctype Kernel() { socket_edge = true }

#ifdef ANNOUNCE_BUFFERED
/* The store of sleeping_ as a release store: it may wait in the store buffer. */
bool buffered;
active proctype StoreBuffer() {
end:
  do
  :: atomic { buffered -> buffered = false; sleeping = true; wins = 0 }
  od
}
inline PrepareToSleep() { buffered = true }
inline Awake() { atomic { buffered = false; sleeping = false } }
#else
inline PrepareToSleep() { atomic { sleeping = true; wins = 0 } }
inline Awake() { sleeping = false }
#endif

active proctype Worker() {
  bool wait; bool woken;
turn:
  if :: stop -> goto out :: else fi;                         /* Run */
  wait = true;
#ifdef LOOK_FIRST
  wait = (inbox == 0 && !stop);
#endif
#ifndef GO_FLAG
  PrepareToSleep();
#endif
#ifdef NO_LOOK
  wait = true;
#elif defined(NO_STOP_LOOK)
  wait = (inbox == 0);
#elif !defined(LOOK_FIRST)
  wait = (inbox == 0 && !stop);
#endif
  woken = false;
  if                                                         /* epoll_pwait2 */
  :: wait ->
     blocked = true;
end_asleep:
     atomic { fd || socket_edge -> blocked = false; woken = fd;
              socket_edge = false;
#ifndef GO_FLAG
              fd = false
#endif
     }
  :: else ->
     atomic { woken = fd; socket_edge = false;
#ifndef GO_FLAG
              fd = false
#endif
     }
  fi;
#ifdef GO_FLAG
  if
  :: woken ->
#ifdef CLEAR_FIRST
     flag = false;
     fd = false
#else
     fd = false;
     flag = false
#endif
  :: else
  fi;
#else
  Awake();
#endif
  inbox = 0;                                                 /* TakeTasks, DeliverMessages */
  goto turn;
out:
  skip
}

init {
  byte i;
  atomic { for (i : 1 .. POSTERS) { run Poster() } }
}

active proctype Monitor() {
  timeout -> assert(!(blocked && (inbox > 0 || stop)))
}
