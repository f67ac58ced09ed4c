#include "proxy/observatory.h"

#include <utility>

#include "proxy/core/post_call.h"

namespace parkway {

Observatory::Observatory(Scheduler& control, Collector& collector, Options options)
    : control_(control),
      options_(std::move(options)),
      collector_(collector),
      step_("history", [this] { Note(); }) {}

void Observatory::Note() {
  collector_.Collect(
      {}, [this](const std::shared_ptr<const Readings>& readings) { history_.Add(*readings); });
}

std::string Observatory::Start() {
  if (!options_.http.has_value()) return "";
  http_ = std::make_unique<HttpServer>(
      HttpServer::Options{.address = *options_.http, .allowed = options_.http_allow},
      [this](bool slowest, std::function<void(HttpAnswer)> done) {
        PostCall(control_, [this, slowest, done = std::move(done)] {
          collector_.Collect({.slowest = slowest},
                             [this, done](const std::shared_ptr<const Readings>& readings) {
                               done({readings, history_.view()});
                             });
        });
      });
  std::string error = http_->Start();
  if (!error.empty()) return error;
  Note();
  step_.Every(control_, History::kStep);
  return "";
}

void Observatory::Allow(AccessList allowed) {
  if (http_ != nullptr) http_->Allow(std::move(allowed));
}

void Observatory::End() {
  if (http_ != nullptr) http_->Stop();
  step_.End(control_);
}

}  // namespace parkway
