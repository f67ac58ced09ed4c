#include "proxy/log_plan_of.h"

#include "config/log_sink.h"

namespace parkway {

namespace {

LogPlan::Target TargetOf(config::LogSink::Kind kind) {
  switch (kind) {
    case config::LogSink::Kind::kOff:
      break;
    case config::LogSink::Kind::kStderr:
      return LogPlan::Target::kStderr;
    case config::LogSink::Kind::kStdout:
      return LogPlan::Target::kStdout;
    case config::LogSink::Kind::kFile:
      return LogPlan::Target::kFile;
    case config::LogSink::Kind::kUnix:
      return LogPlan::Target::kUnix;
    case config::LogSink::Kind::kSyslog:
      return LogPlan::Target::kSyslog;
  }
  return LogPlan::Target::kOff;
}

LogFormat FormatOf(config::LogFormat format) {
  switch (format) {
    case config::LogFormat::kKv:
      break;
    case config::LogFormat::kTcplog:
      return LogFormat::kTcplog;
    case config::LogFormat::kJson:
      return LogFormat::kJson;
  }
  return LogFormat::kKeyValue;
}

}  // namespace

LogPlan LogPlanOf(const config::Scalars& scalars) {
  LogPlan log;
  log.target = TargetOf(scalars.access_log.kind);
  log.where = scalars.access_log.target;
  log.port = scalars.access_log.port;
  log.facility = scalars.log_facility;
  log.format = FormatOf(scalars.log_format);
  const config::LogSkip skip = config::ParseLogSkip(scalars.log_skip).value_or(config::LogSkip());
  log.skip_null = skip.null;
  log.skip_normal = skip.normal;
  log.sample = scalars.log_sample;
  const config::LogEvents events =
      config::ParseLogEvents(scalars.log_events).value_or(config::LogEvents());
  if (!log.on() || log.format != LogFormat::kJson) return log;
  log.opens = events.open;
  log.connects = events.connect;
  log.progress = scalars.log_progress;
  return log;
}

}  // namespace parkway
