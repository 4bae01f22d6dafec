#include "base/log.h"

#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <mutex>

#include "base/printable.h"

namespace cofs {
namespace {

struct LogState {
  std::mutex mutex;
  std::string program = "cofs";
  bool to_syslog = false;
  std::function<void(LogLevel, std::string_view)> sink;
};

LogState& State() {
  static LogState* state = new LogState;  // never destroyed: threads may log at exit
  return *state;
}

std::atomic<LogLevel> g_level{LogLevel::kInfo};

void AppendEscaped(unsigned char c, std::string& out) {
  char escaped[5];
  std::snprintf(escaped, sizeof(escaped), "\\x%02x", c);
  out += escaped;
}

int SyslogPriority(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return LOG_DEBUG;
    case LogLevel::kInfo:
      return LOG_INFO;
    case LogLevel::kWarning:
      return LOG_WARNING;
    case LogLevel::kError:
      return LOG_ERR;
  }
  return LOG_ERR;
}

}  // namespace

void Log(LogLevel level, std::string_view text) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  // Errors carry paths and names that nobody has looked at.
  const std::string message = WithoutControls(text);
  LogState& state = State();
  std::lock_guard lock(state.mutex);
  if (state.sink) {
    state.sink(level, message);
  } else if (state.to_syslog) {
    ::syslog(SyslogPriority(level), "%.*s", static_cast<int>(message.size()), message.data());
  } else {
    std::string line = state.program + ": ";
    if (level == LogLevel::kWarning) line += "warning: ";
    if (level == LogLevel::kDebug) line += "debug: ";
    line.append(message);
    line += '\n';
    ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    static_cast<void>(written);  // nowhere left to report it
  }
}

void SetLogLevel(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }

void SetLogProgram(std::string_view program) {
  std::lock_guard lock(State().mutex);
  State().program = program;
}

void LogToSyslog() {
  LogState& state = State();
  std::lock_guard lock(state.mutex);
  ::openlog(state.program.c_str(), LOG_PID, LOG_DAEMON);
  state.to_syslog = true;
}

void SetLogSink(std::function<void(LogLevel, std::string_view)> sink) {
  std::lock_guard lock(State().mutex);
  State().sink = std::move(sink);
}

std::string Printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (unsigned char c : text) {
    if (c >= 0x20 && c <= 0x7e && c != '\\') {
      out += static_cast<char>(c);
    } else {
      AppendEscaped(c, out);
    }
  }
  return out;
}

std::string WithoutControls(std::string_view text, LineEnds line_ends) {
  std::string out;
  out.reserve(text.size());
  for (unsigned char c : text) {
    if ((c >= 0x20 && c <= 0x7e) || (c == '\n' && line_ends == LineEnds::kKept))
      out += static_cast<char>(c);
    else
      AppendEscaped(c, out);
  }
  return out;
}

}  // namespace cofs
