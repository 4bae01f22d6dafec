// Shows how far a check is: a bar on a terminal, or lines for another program as fsck(8)
// reads them ("pass done total device").
#pragma once

#include <chrono>
#include <string>

#include "fsck/volume_check.h"

namespace cofs {

class ProgressDisplay {
 public:
  // Draws on `fd`; a bar if `is_bar`.
  ProgressDisplay(int fd, bool is_bar, std::string device)
      : fd_(fd), is_bar_(is_bar), device_(std::move(device)) {}
  ~ProgressDisplay() { Clear(); }
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void Show(const CheckProgress& progress);
  // Takes the bar away, so that other output can follow.
  void Clear();

 private:
  void Write(const std::string& text) const;

  const int fd_;
  const bool is_bar_;
  const std::string device_;
  bool is_shown_ = false;
  int last_pass_ = 0;
  std::chrono::steady_clock::time_point last_time_{};
};

}  // namespace cofs
