/* What all models share: the states of a semaphore word, and the lock of a descriptor. */
mtype = { NIL, READY, WAIT, TASK };

inline Lock(l)   { atomic { !l -> l = true } }
inline Unlock(l) { l = false }
