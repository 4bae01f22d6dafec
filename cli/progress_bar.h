// ProgressBar: one line on a terminal that says how far a copy is, and by which way.
// Draws nothing when it is off.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cofs {

enum class ProgressMode { kAuto, kAlways, kNever };  // kAuto: on a terminal

class ProgressBar {
 public:
  // Of standard error.
  ProgressBar(ProgressMode mode, uint64_t total_bytes);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  bool is_on() const { return is_on_; }
  // `way` in words, empty when it is not known. Draws at most ten times a second.
  void Update(uint64_t done_bytes, const std::string& name, const std::string& way);
  // A line of the caller's own.
  void Show(const std::string& line);
  // Takes the line away, so that something else can be printed.
  void Clear();

 private:
  void Draw(const std::string& line);

  const bool is_on_;
  const uint64_t total_bytes_;
  const std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point drawn_at_{};
  bool is_drawn_ = false;
};

// What the bar shows, in at most `columns` columns; a pure function.
std::string ProgressLine(uint64_t done_bytes, uint64_t total_bytes, double seconds,
                         const std::string& name, const std::string& way, size_t columns);
// Its front part: the bar, the share, the sizes and, unless it is 0, the rate.
std::string ProgressText(uint64_t done_bytes, uint64_t total_bytes,
                         uint64_t bytes_per_second);

}  // namespace cofs
