/*
 * Handles and events of a use that has ended: RemoteEvict by handle, Netpoll::Ready with the
 * sequence from epoll's data, SetEventError and PublishInfo in one word, while the owner closes
 * the descriptor and opens it again for somebody else.
 *
 * The poller is a process of its own: more runs than the engine has.
 *
 * Holds:   the second use is never evicted, woken for nothing that is its own, or marked with an
 *          error by what was meant for the first; nobody's flag is lost.
 * Broken:  NO_HANDLE_CHECK, CHECK_BEFORE_LOCK, NO_FDSEQ_CHECK, ERROR_CHECK_APART,
 *          PUBLISH_BY_STORE
 */
#include "word.pml"

#define ERR 2
#define CLOSING 1

byte seq = 1;          /* info word: the sequence ... */
byte flags;            /* ... and the flags; one word, so both change in one atomic step */
bool closing;          /* under the lock */
bool lock;
bool second;           /* the owner has opened the second use */
bool marked_second;    /* an error was reported for the second use */

/* PublishInfo: closing is written, the event error is carried over. */
inline Publish() {
#ifdef PUBLISH_BY_STORE
  f = flags;
  atomic { flags = (f & ERR) | (closing -> CLOSING : 0) }
#else
  atomic { flags = (flags & ERR) | (closing -> CLOSING : 0) }
#endif
}

inline Evict(handle, ok) {
  ok = false;
#ifdef CHECK_BEFORE_LOCK
  if
  :: seq != handle || closing
  :: else ->
     Lock(lock);
     assert(!second); ok = true; closing = true; Publish();
     Unlock(lock)
  fi
#else
  Lock(lock);
  if
#ifdef NO_HANDLE_CHECK
  :: closing
#else
  :: seq != handle || closing
#endif
  :: else -> assert(!second); ok = true; closing = true; Publish()
  fi;
  Unlock(lock)
#endif
}

active proctype Owner() {
  bool ok; byte f;
  Evict(1, ok);
  Lock(lock);                                   /* Close */
  assert(closing);
  atomic { seq = 2; flags = flags & CLOSING };
  Unlock(lock);
  Lock(lock);                                   /* Open */
  closing = false;
  atomic { flags = flags & CLOSING; marked_second = false };
  Publish();
  second = true;
  Unlock(lock)
}

/* Another thread that holds the first use's handle. */
proctype Remote() {
  bool ok; byte f;
  Evict(1, ok)
}

/* RemoteSetDeadline on the second use: nothing here but that it publishes. */
proctype Setter() {
  byte f;
  Lock(lock);
  if :: seq == 2 && !closing -> Publish() :: else fi;
  Unlock(lock)
}

/* An event of the given use. */
proctype Poller(byte tag; bool error) {
  byte s, f;
#ifndef NO_FDSEQ_CHECK
  if :: seq != tag -> goto out :: else fi;
#endif
#ifdef ERROR_CHECK_APART
  if :: seq != tag -> goto out :: else fi;
  atomic { flags = (error -> flags | ERR : flags & CLOSING) };
#else
  atomic {
    if
#ifdef NO_FDSEQ_CHECK
    :: true ->
#else
    :: seq == tag ->
#endif
       flags = (error -> flags | ERR : flags & CLOSING);
       if :: tag == 2 && second -> marked_second = error :: else fi
    :: else
    fi
  };
#endif
out:
  skip
}

/* The second use's own events come after it was opened. */
active proctype Later() {
  second ->
  atomic {
    run Setter();
    if :: run Poller(2, true) :: run Poller(2, false) :: skip fi
  }
}

init { atomic { run Remote(); run Remote(); run Poller(1, true) } }

active proctype Monitor() {
  timeout ->
  assert(second && seq == 2);
  assert(!closing && (flags & CLOSING) == 0);
  assert(((flags & ERR) != 0) == marked_second)
}
