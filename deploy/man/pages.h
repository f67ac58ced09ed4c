// Pages: what the man pages say of flags and keys, made from the table that --help is made from.
//
// A template is a page with lines of the form `.\" @NAME@`; Fill puts what the table says there:
//   ACTIONS  flags of the command line alone
//   FLAGS    all others, by group
//   KEYS     what a list flag's line may say besides settings
//   COMMANDS the section of parkwayctl's commands
//
// Pure functions: any thread.
#ifndef DEPLOY_MAN_PAGES_H_
#define DEPLOY_MAN_PAGES_H_

#include <optional>
#include <string>
#include <string_view>

namespace parkway {

// `text` as roff shows it: no character of it is an order.
std::string RoffText(std::string_view text);

// The page, or nothing if the template has a marker that is none of the above.
std::optional<std::string> Fill(std::string_view page_template);

}  // namespace parkway

#endif  // DEPLOY_MAN_PAGES_H_
