// CrashModel: a random sequence of operations on a mounted directory, and what the
// directory looked like after each of them.
//
// All operations go to the file system one by one and unbuffered (direct writes), so
// that after a crash its contents must be those after some operation: one not before
// the last fsync that returned, and not after the last operation that was tried.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace cofs {

// Whether a system call below `path` failed because the mount's daemon is gone. A direct
// write that its end cuts off fails with EIO, like one that it refused: then the mount
// itself is asked.
bool IsGone(const std::string& path, int error_number);

class CrashModel {
 public:
  // Works in `directory`, which exists and is empty. Everything follows from `seed`.
  CrashModel(std::string directory, uint64_t seed);

  // Carries out one more operation. False when it failed because the file system is
  // gone; any other error throws std::system_error.
  bool Step();
  size_t step_count() const { return states_.size() - 1; }
  // After this step everything was durable.
  size_t durable_step() const { return durable_step_; }

  // The step whose state the directory is in now; throws std::runtime_error with the
  // differences when there is none in [durable_step(), step_count()].
  size_t FindStep() const;
  // Goes on from that step.
  void GoOnFrom(size_t step);

 private:
  using Files = std::map<std::string, std::string>;  // name, contents
  using State = std::map<std::string, uint32_t>;     // name, checksum of the contents

  bool Done(long result) const;
  bool Apply(Files& files);
  bool Write(Files& files, const std::string& name);
  bool Truncate(Files& files, const std::string& name);
  bool Punch(Files& files, const std::string& name);
  bool Rename(Files& files, const std::string& name);
  bool Sync(const std::string& name);
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  std::string Difference(const State& actual) const;
  static State Describe(const Files& files);

  const std::string directory_;
  std::mt19937_64 random_;
  Files files_;
  std::vector<State> states_;
  std::vector<std::string> journal_;  // what each step did, in words
  std::string words_;
  bool made_durable_ = false;
  size_t durable_step_ = 0;
};

}  // namespace cofs
