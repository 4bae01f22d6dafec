#include "fsck/progress_display.h"

#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace cofs {
namespace {

constexpr int kBarColumns = 40;
constexpr std::chrono::milliseconds kInterval{200};

}  // namespace

void ProgressDisplay::Show(const CheckProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const bool is_end = progress.done >= progress.total;
  if (progress.pass == last_pass_ && !is_end && now - last_time_ < kInterval) return;
  last_pass_ = progress.pass;
  last_time_ = now;
  if (!is_bar_) {
    Write(StrCat(progress.pass, " ", progress.done, " ", progress.total, " ", device_, "\n"));
    return;
  }
  const double part = progress.total == 0 ? 0
                                          : static_cast<double>(progress.done) /
                                                static_cast<double>(progress.total);
  const int columns = std::clamp(static_cast<int>(part * kBarColumns), 0, kBarColumns);
  const std::string full(static_cast<size_t>(columns), '=');
  const std::string rest(static_cast<size_t>(kBarColumns - columns), ' ');
  const int percent = std::clamp(static_cast<int>(part * 100), 0, 100);
  Write(StrCat("\r\x1b[K", "pass ", progress.pass, " [", full, rest, "] ", percent, " % ",
               progress.name));
  is_shown_ = true;
}

void ProgressDisplay::Clear() {
  if (is_shown_) Write("\r\x1b[K");
  is_shown_ = false;
}

void ProgressDisplay::Write(const std::string& text) const {
  const ssize_t written = ::write(fd_, text.data(), text.size());
  static_cast<void>(written);  // nobody waits for it
}

}  // namespace cofs
