#include "proxy/admin/reply.h"

#include "config/text.h"

namespace parkway::admin {

bool Reply::Put(char letter, std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  while (!lost_) {
    const size_t end = text.find('\n');
    if (form_ == Form::kFramed) waiting_ += letter;
    waiting_ += text.substr(0, end);
    waiting_ += '\n';
    if (waiting_.size() >= kPieceBytes) Flush();
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return !lost_;
}

bool Reply::Say(std::string_view text) { return Put('+', text); }

bool Reply::Fail(Status status, std::string_view why) {
  status_ = status;
  if (form_ == Form::kPlain) return Put('-', config::Cat("error: ", why));
  return Put('-', why);
}

bool Reply::Progress(std::string_view text) { return Put('*', text) && Flush(); }

bool Reply::Flush() {
  if (!lost_ && !waiting_.empty()) lost_ = !sink_.Send(waiting_);
  waiting_.clear();
  return !lost_;
}

bool Reply::Finish() {
  if (form_ == Form::kFramed) {
    Put('=', config::Cat(static_cast<int>(status_)));
  } else {
    Put('+', "");
  }
  return Flush();
}

}  // namespace parkway::admin
