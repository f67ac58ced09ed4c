// What `show conns` and `show conn` print of one connection: a line of a table, an object of JSON,
// or sentences that say what it waits for.
//
// Pure functions: any thread.
#ifndef PROXY_ADMIN_CONN_TEXT_H_
#define PROXY_ADMIN_CONN_TEXT_H_

#include <string>

#include "proxy/admin/show_json.h"
#include "proxy/observe/conn_row.h"

namespace parkway::admin {

// Columns of fixed width, for the list has no end that could be waited for.
std::string ConnHeading();
std::string ConnLine(const ConnRow& row);

Json ConnJson(const ConnRow& row);

// "server->client blocked 3.2s: client receive window closed, 64 KiB pending"
std::string ExplainWay(const ConnRow& row, bool down);
// Several lines.
std::string ExplainConn(const ConnRow& row);

}  // namespace parkway::admin

#endif  // PROXY_ADMIN_CONN_TEXT_H_
