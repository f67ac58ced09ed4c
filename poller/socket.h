// Bytes in and out of a descriptor: attempts that never wait, and a Socket that reads and writes
// as if it blocked.
//
//   IoResult got = TryRead(desc, buffer, sizeof(buffer));     // stackless tasks use these
//   if (got.would_block()) return Next::AwaitReadable(desc);
//
//   Socket socket = Socket::Adopt(scheduler, fd);             // tasks that keep their stack
//   IoResult got = socket.Read(buffer, sizeof(buffer));
//   socket.WriteAll(buffer, got.bytes);
//
// What a short read means. A read that returns less than it asked for has emptied the queue, so
// the attempt that would say EAGAIN is saved, with these exceptions, remembered by the descriptor
// from its events: a FIN or an error follows the data (RDHUP, HUP, ERR), or the read stopped at an
// urgent mark (PRI; recv and splice stop there though bytes follow, and no event comes for those).
// A unix socket stops short behind a message that passed descriptors, so there a short read says
// nothing at all (kUnix, for its maker to set; Adopt and the dialer do).
//
// Owner thread only.
//
// Invariants
//   1. `drained` is said only if an edge will come for whatever arrives next.
//   2. `end` is said only if the peer's FIN was reached and no error of the socket is known.
#ifndef POLLER_SOCKET_H_
#define POLLER_SOCKET_H_

#include <errno.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "poller/clock.h"
#include "poller/poll_desc.h"
#include "poller/scheduler.h"

struct iovec;

namespace parkway {

struct IoResult {
  size_t bytes = 0;
  int error = 0;         // positive errno; EAGAIN: would block
  bool drained = false;  // read: nothing more is there now. write: nothing more fits now
  bool end = false;      // read: FIN, after `bytes`

  bool would_block() const { return error == EAGAIN; }
  bool failed() const { return error != 0 && error != EAGAIN; }
};

// --- Attempts ---

IoResult TryRead(PollDesc& desc, void* data, size_t size);
// As TryRead, but the bytes stay in the queue; TryDiscard takes them out of it. (MSG_TRUNC would
// save the copy into `scratch`, on TCP alone.)
IoResult TryPeek(PollDesc& desc, void* data, size_t size);
IoResult TryDiscard(PollDesc& desc, void* scratch, size_t size);
// `more_follows`: in this activation comes another write or the end of the stream, and the kernel
// may wait for that with what does not fill a segment.
IoResult TryWrite(PollDesc& desc, const void* data, size_t size, bool more_follows = false);
IoResult TryWritev(PollDesc& desc, const iovec* parts, int count);
// Into the write end of a pipe. EAGAIN: nothing to read, or the pipe is full. Nothing that this
// says is an end: a splice stops at an urgent mark and then reports 0 with bytes unread, so
// `bytes` 0 without an error means: ask TryRead.
IoResult TrySpliceIn(PollDesc& desc, int pipe, size_t size);
// Out of the read end of a pipe that holds at least `size` bytes.
IoResult TrySpliceOut(int pipe, PollDesc& desc, size_t size);

// The error of the socket, which this clears; 0 if there is none.
int TakeSocketError(const PollDesc& desc);
// Makes the coming close of `fd` send RST and drop what is queued. Has no effect on unix sockets.
void ResetOnClose(int fd);
// Makes it send nothing: the other side is not told (TCP_REPAIR). Without CAP_NET_ADMIN: a reset.
// False then.
bool VanishOnClose(int fd);

// --- As if it blocked: for tasks that keep their stack ---

class Socket {
 public:
  // Takes over `fd`. On failure the fd is closed and ok() is false.
  static Socket Adopt(Scheduler& scheduler, int fd);
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  // Closes, if it was not.
  ~Socket();

  bool ok() const { return desc_ != nullptr; }
  PollDesc& desc() { return *desc_; }

  // Waits for at least one byte, the end, or an error: ECANCELED when evicted, ETIMEDOUT at the
  // deadline.
  IoResult Read(void* data, size_t size);
  // Waits until all is taken by the kernel; `bytes` says how much was, if it fails.
  IoResult WriteAll(const void* data, size_t size);
  IoResult WritevAll(iovec* parts, int count);  // `parts` is used up

  // FIN; reading goes on. 0 or errno.
  int ShutdownWrite();
  void SetDeadline(Directions directions, MonotonicTime deadline);
  // FIN, or what shutdown left of it.
  void Close();
  // RST.
  void Reset();

 private:
  Socket(Scheduler& scheduler, PollDesc* desc) : scheduler_(&scheduler), desc_(desc) {}
  int WaitFor(Direction direction);

  Scheduler* scheduler_;
  PollDesc* desc_;
};

}  // namespace parkway

#endif  // POLLER_SOCKET_H_
