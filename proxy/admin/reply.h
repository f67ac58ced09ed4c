// Reply: what a command answers, in the form that its client reads.
//
//   plain     the lines as they are, and an empty line at the end, as HAProxy does:
//             for people with socat, and for what was written for HAProxy's socket
//   framed    each line with a letter before it, so that what it is and where the answer ends is
//             known (parkwayctl):
//                 +text     a line of the answer
//                 -text     why it was refused
//                 *text     how far it is: overwrites the one before on a terminal
//                 =N        the end: a Status
//
// Bytes go out in pieces of kPieceBytes; a client that takes none holds up nothing but its answer.
//
// Control thread, in a task that keeps its stack.
#ifndef PROXY_ADMIN_REPLY_H_
#define PROXY_ADMIN_REPLY_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "proxy/admin/command_table.h"

namespace parkway::admin {

class Reply {
 public:
  enum class Form { kPlain, kFramed };

  // Where the bytes go.
  class Sink {
   public:
    // Waits until they are taken. False: the client is gone, or takes nothing.
    virtual bool Send(std::string_view bytes) = 0;

   protected:
    ~Sink() = default;
  };

  static constexpr size_t kPieceBytes = 16 * 1024;

  Reply(Form form, bool json, Sink& sink) : form_(form), json_(json), sink_(sink) {}

  // Whether JSON was asked for.
  bool json() const { return json_; }
  Status status() const { return status_; }
  // The client is gone: nothing that is said reaches anybody.
  bool lost() const { return lost_; }

  // One or several lines; an ending newline is not one more. False: see lost(); say no more.
  bool Say(std::string_view text);
  // The command ends with `status`, and why.
  bool Fail(Status status, std::string_view why);
  // How far it is; sent at once.
  bool Progress(std::string_view text);
  bool Flush();
  // The end of the answer.
  bool Finish();

 private:
  bool Put(char letter, std::string_view text);

  const Form form_;
  const bool json_;
  Sink& sink_;
  Status status_ = Status::kDone;
  bool lost_ = false;
  std::string waiting_;
};

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_REPLY_H_
