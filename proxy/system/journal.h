// Journal: lines for systemd's journal, where that is what reads stderr: it stamps each with a
// time itself, and takes its priority from the beginning of the line ("<4>").
//
// Any thread.
#ifndef PROXY_SYSTEM_JOURNAL_H_
#define PROXY_SYSTEM_JOURNAL_H_

#include <string>
#include <string_view>

namespace parkway {

// Whether what is written to `fd` goes to the journal (JOURNAL_STREAM names it).
bool IsJournal(int fd);

// `line`, which may begin with HAProxy's words for its weight ("WARNING: ", "NOTICE: "), with a
// priority instead of them.
std::string JournalLine(std::string_view line);

}  // namespace parkway

#endif  // PROXY_SYSTEM_JOURNAL_H_
