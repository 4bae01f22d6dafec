// The log of a program: standard error by default, syslog for a daemon.
// Thread-safe. A line is at most 1 KiB; control characters from names are
// escaped by the callers with Printable().
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace cofs {

enum class LogLevel { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

void Log(LogLevel level, std::string_view message);
inline void LogDebug(std::string_view m) { Log(LogLevel::kDebug, m); }
inline void LogInfo(std::string_view m) { Log(LogLevel::kInfo, m); }
inline void LogWarning(std::string_view m) { Log(LogLevel::kWarning, m); }
inline void LogError(std::string_view m) { Log(LogLevel::kError, m); }

// Lines below `level` are dropped. Default: kInfo.
void SetLogLevel(LogLevel level);
// Goes on standard error with this name in front ("mkfs.cofs"). Default "cofs".
void SetLogProgram(std::string_view program);
// From now on lines go to syslog(3), facility daemon.
void LogToSyslog();
// Tests: every line goes to `sink` instead; nullptr restores the default.
void SetLogSink(std::function<void(LogLevel, std::string_view)> sink);

// `text` with control characters and bytes over 0x7e written as \xHH, so that a
// name can't command a terminal.
std::string Printable(std::string_view text);

}  // namespace cofs
