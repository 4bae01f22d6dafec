// An IoLog in a file, from the process that recorded it to the one that replays it.
#pragma once

#include <string>

#include "base/result.h"
#include "device/recording_device.h"

namespace cofs {

Status WriteLogFile(const IoLog& log, const std::string& path);
Result<IoLog> ReadLogFile(const std::string& path);

// Environment of crash_recording_mount: where the log goes, and the socket at which it
// takes marks (8 bytes each, in host order, answered by one byte).
inline constexpr char kLogPathVariable[] = "COFS_RECORD_LOG";
inline constexpr char kMarkSocketVariable[] = "COFS_RECORD_MARKS";

}  // namespace cofs
