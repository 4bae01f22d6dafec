#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "cli/text_table.h"

namespace cofs {
namespace {

constexpr std::chrono::milliseconds kRedrawPause{100};
constexpr size_t kBarColumns = 20;

size_t TerminalColumns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string ProgressText(uint64_t done_bytes, uint64_t total_bytes,
                         uint64_t bytes_per_second) {
  done_bytes = std::min(done_bytes, total_bytes);
  const size_t filled =
      total_bytes == 0 ? kBarColumns
                       : static_cast<size_t>(static_cast<double>(done_bytes) /
                                             static_cast<double>(total_bytes) * kBarColumns);
  std::string line = "[" + std::string(filled, '#') +
                     std::string(kBarColumns - filled, '-') + "] " +
                     FormatShare(done_bytes, total_bytes) + "  " + FormatBytes(done_bytes) +
                     " of " + FormatBytes(total_bytes);
  if (bytes_per_second > 0) line += "  " + FormatBytes(bytes_per_second) + "/s";
  return line;
}

std::string ProgressLine(uint64_t done_bytes, uint64_t total_bytes, double seconds,
                         const std::string& name, const std::string& way,
                         size_t columns) {
  const uint64_t rate =
      seconds > 0 ? static_cast<uint64_t>(
                        static_cast<double>(std::min(done_bytes, total_bytes)) / seconds)
                  : 0;
  std::string line = ProgressText(done_bytes, total_bytes, rate);
  if (seconds > 0 && rate == 0) line += "  " + FormatBytes(0) + "/s";
  if (!way.empty()) line += "  by " + way;
  if (!name.empty()) line += "  " + Printable(name);
  if (line.size() > columns) line.resize(columns);
  return line;
}

ProgressBar::ProgressBar(ProgressMode mode, uint64_t total_bytes)
    : is_on_(mode == ProgressMode::kAlways ||
             (mode == ProgressMode::kAuto && ::isatty(STDERR_FILENO) == 1)),
      total_bytes_(total_bytes),
      begin_(std::chrono::steady_clock::now()) {}

void ProgressBar::Update(uint64_t done_bytes, const std::string& name,
                         const std::string& way) {
  if (!is_on_) return;
  const auto now = std::chrono::steady_clock::now();
  if (is_drawn_ && now - drawn_at_ < kRedrawPause) return;
  drawn_at_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  Draw(ProgressLine(done_bytes, total_bytes_, seconds, name, way, TerminalColumns() - 1));
}

void ProgressBar::Show(const std::string& line) {
  if (is_on_) Draw(line.substr(0, TerminalColumns() - 1));
}

void ProgressBar::Draw(const std::string& line) {
  std::fprintf(stderr, "\r\033[K%s", line.c_str());
  std::fflush(stderr);
  is_drawn_ = true;
}

void ProgressBar::Clear() {
  if (!is_drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  is_drawn_ = false;
}

}  // namespace cofs
