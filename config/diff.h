// Diff: what a reload changes, in an operator's words.
//
//   Difference difference = Diff(before, after);
//   difference.lines        "+listener web (:443)", "~upstream app: +2 servers, weight of a 1 -> 2"
//   difference.unchanged    listeners and upstreams that are the same: "=118 unchanged"
//
// Pure function: any thread.
#ifndef CONFIG_DIFF_H_
#define CONFIG_DIFF_H_

#include <cstddef>
#include <string>
#include <vector>

#include "config/snapshot.h"

namespace parkway::config {

struct Difference {
  // Flags of the process, then listeners, then upstreams; those of each in the order of the later
  // configuration, then those that are gone.
  std::vector<std::string> lines;
  size_t unchanged = 0;
  // Flags that differ and that a reload does not apply: "threads: 2 -> 4".
  std::vector<std::string> not_reloadable;

  bool empty() const { return lines.empty(); }
  // All of it, a line each.
  std::string Text() const;
  // The same as one line for a log. Where there is much, by names alone, and not all of them:
  // "~upstream a, b, c and 697 more; =3 unchanged".
  std::string Line() const;
};

Difference Diff(const Snapshot& before, const Snapshot& after);

// As in Difference. Between what the process has started with and what it is to go by: what only a
// restart can change differs until there is one.
std::vector<std::string> NotReloadable(const Snapshot& start, const Snapshot& after);

}  // namespace parkway::config

#endif  // CONFIG_DIFF_H_
