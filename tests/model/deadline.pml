/*
 * One deadline: PollDesc::PushLater (no lock, no timer) on the owner's thread against SetDeadline
 * from another one, with the wheel's timer, its sequence and the re-arm message.
 *
 * Times are small numbers; the clock stops at NOON, and FAR is later than that. `want` is what the
 * deadline is by the order in which the calls took effect.
 *
 * Holds:   a deadline never fires early; its own timer never misses it; when the clock stands, no
 *          task is parked past what was wanted; a shortening wins over a push that did not see it.
 * Broken:  PUSH_BY_STORE, PUSH_BUMPS_SEQ, NO_REARM, EXPIRE_WITHOUT_LOOK, NO_REARM_WHEN_LATER
 *
 * STALE_TIMER_IGNORED holds: that a stale timer re-arms is a second rope, for the message of
 * whoever made it stale does so too.
 */
#define NOON 3
#define FAR 4
#define EXPIRED 255

byte now;
byte rd = 2;             /* 0: none */
byte rseq;
byte want = 2;
bool lock;
bool info_expired;
bool parked = true;      /* a reader is in the word */
bool early;              /* it was woken before what was wanted */

byte timer_at = 2;       /* 0: not linked */
byte timer_seq;
bool reset_since_armed;  /* another thread has changed the deadline since the timer was prepared */
byte messages;           /* re-arm messages in the inbox */

inline Wake() { if :: parked -> parked = false; early = (want > now && want != EXPIRED) :: else fi }

/* SetDeadline, ChangeOne. PushLater takes no lock, so it may come between the two steps. */
inline Set(wanted, rearm) {
  atomic {
    !lock -> lock = true;
    old = rd; rd = wanted; want = wanted;                    /* the exchange */
    rearm = false;
    if
    :: wanted == old
    :: wanted != old && old > 0 && old != EXPIRED && wanted > old && wanted != EXPIRED
    :: else ->
       rseq++;
       reset_since_armed = true;
       if :: wanted > 0 && wanted != EXPIRED -> rearm = true :: else fi
    fi;
    old = 0
  };
  atomic {
    info_expired = (rd == EXPIRED);
    if :: rd == EXPIRED -> Wake() :: else fi;
    lock = false
  }
}

/* Scheduler::Rearm: Cancel, PrepareTimer, Arm. The timer is the owner's alone. */
inline Rearm() {
  atomic {
    !lock ->
    timer_at = (rd == EXPIRED -> 0 : rd);
    timer_seq = rseq; reset_since_armed = false; rearm = false
  }
}

active proctype Owner() {
  byte old; byte later; byte pushes; byte calls; bool rearm; bool read;
end:
  do
  :: pushes < 2 ->                                           /* PushLater */
     atomic {
       pushes++;
       old = rd;
       if
       :: old == 0 || old == EXPIRED || old == FAR -> old = 0; goto pushed
       :: old > 0 && old < 3 -> later = 3
       :: old > 0 && old < FAR -> later = FAR
       fi
     };
     atomic {
#ifdef PUSH_BY_STORE
       /* It took effect when it looked, if at all. */
       if :: rd == old -> want = later :: else fi;
       rd = later;
#else
       if
       :: rd == old -> rd = later; want = later;
#ifdef PUSH_BUMPS_SEQ
          rseq++
#endif
       :: else
       fi;
#endif
       old = 0; later = 0
     };
pushed:
     skip
  :: calls < 1 ->                                            /* Scheduler::SetDeadline */
     calls++;
     if
     :: Set(3, rearm)
     :: Set(0, rearm)
     fi;
     if :: rearm -> Rearm() :: else fi
  :: messages > 0 ->                                         /* RearmMessage::Deliver */
     messages--;
     Rearm()
  :: atomic {                                                /* FireTimers, Expire */
       timer_at > 0 && timer_at <= now && !lock ->
       timer_at = 0;
       if
       :: timer_seq == rseq ->
          if
          :: rd > 0 && rd != EXPIRED ->
#ifdef EXPIRE_WITHOUT_LOOK
             read = true;
#else
             read = (rd <= now);
#endif
#ifndef NO_REARM_WHEN_LATER
             rearm = !read
#else
             skip
#endif
          :: else
          fi
       :: else ->
#ifndef STALE_TIMER_IGNORED
          if :: rd > 0 && rd != EXPIRED -> rearm = true :: else fi
#else
          skip
#endif
       fi;
       /* The timer that was armed for this deadline does not miss it. */
       assert(reset_since_armed || read || rd == 0 || rd == EXPIRED || rd > now);
       if
       :: read -> rd = EXPIRED; info_expired = true; Wake()
       :: else
       fi;
       read = false
     }
     if :: rearm -> Rearm() :: else fi
  od
}

/* RemoteSetDeadline: sooner, now, none, or later. */
proctype Remote() {
  byte old; bool rearm;
  if
  :: Set(1, rearm)
  :: Set(3, rearm)
  :: Set(0, rearm)
  :: Set(FAR, rearm)
  :: Set(EXPIRED, rearm)
  fi;
#ifndef NO_REARM
  if :: rearm -> messages++ :: else fi;
#endif
  skip
}

active proctype Clock() {
  do
  :: now < NOON -> now++
  :: now == NOON -> break
  od
}

init { atomic { run Remote(); run Remote() } }

active proctype Monitor() {
  timeout ->
  assert(!early);
  assert(!(parked && want > 0 && want <= now));
  assert(!(parked && want == EXPIRED));
  assert(want == rd || (rd == EXPIRED && want <= now));
  assert(info_expired == (rd == EXPIRED))
}
