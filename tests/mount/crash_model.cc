#include "tests/mount/crash_model.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "base/crc32c.h"
#include "tests/mount/file_io.h"

namespace cofs {
namespace {

constexpr size_t kBlock = 4096, kBlocksMax = 64;
constexpr int kNames = 12;

}  // namespace

bool IsGone(const std::string& path, int error_number) {
  const auto tells = [](int number) { return number == ENOTCONN || number == ECONNABORTED; };
  if (tells(error_number)) return true;
  if (error_number != EIO) return false;
  // Never answered from a cache. While the process ends and its descriptors of the
  // connection are closed one by one, it waits, and is then cut off itself.
  struct statvfs usage;
  return statvfs(path.c_str(), &usage) != 0 && tells(errno);
}

CrashModel::CrashModel(std::string directory, uint64_t seed)
    : directory_(std::move(directory)), random_(seed), states_{{}}, journal_{"start"} {}

// `result` of a system call: true, false when the mount is gone, or throws.
bool CrashModel::Done(long result) const {
  if (result >= 0) return true;
  const int error_number = errno;
  if (IsGone(directory_, error_number)) return false;
  throw std::system_error(error_number, std::generic_category(), words_);
}

bool CrashModel::Step() {
  Files after = files_;
  made_durable_ = false;
  const bool done = Apply(after);
  // Even a step that met the crash may have been carried out.
  states_.push_back(Describe(after));
  journal_.push_back(words_ + (done ? "" : " (met the crash)"));
  if (!done) return false;
  files_ = std::move(after);
  if (made_durable_) durable_step_ = states_.size() - 1;
  return true;
}

bool CrashModel::Apply(Files& files) {
  const std::string name = "f" + std::to_string(random_() % kNames);
  words_ = name;
  const bool exists = files.contains(name);
  const uint64_t choice = random_() % 100;
  if (!exists) {
    words_ += ": create";
    const Fd fd(open(Path(name).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    files[name] = "";
    return Done(fd.get());
  }
  if (choice < 50) return Write(files, name);
  if (choice < 60) return Truncate(files, name);
  if (choice < 66) return Punch(files, name);
  if (choice < 80) return Rename(files, name);
  if (choice < 90) {
    words_ += ": unlink";
    files.erase(name);
    return Done(unlink(Path(name).c_str()));
  }
  return Sync(choice < 95 ? Path(name) : directory_);
}

bool CrashModel::Write(Files& files, const std::string& name) {
  const size_t block = random_() % kBlocksMax, count = 1 + random_() % 16;
  const std::string data = Pattern(random_(), 0, count * kBlock);
  words_ += ": write " + std::to_string(count) + " blocks at " + std::to_string(block);
  std::string& contents = files[name];
  contents.resize(std::max(contents.size(), block * kBlock + data.size()));
  contents.replace(block * kBlock, data.size(), data);
  const Fd fd(open(Path(name).c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
  if (!Done(fd.get())) return false;
  const AlignedBuffer buffer = AlignedCopy(data);
  return Done(pwrite(fd.get(), buffer.data(), data.size(), static_cast<off_t>(block * kBlock)));
}

bool CrashModel::Truncate(Files& files, const std::string& name) {
  const size_t size = random_() % (kBlocksMax * kBlock);
  words_ += ": truncate to " + std::to_string(size);
  files[name].resize(size);
  return Done(truncate(Path(name).c_str(), static_cast<off_t>(size)));
}

bool CrashModel::Punch(Files& files, const std::string& name) {
  std::string& contents = files[name];
  const size_t offset = random_() % (kBlocksMax * kBlock), length = 1 + random_() % 100000;
  words_ += ": punch " + std::to_string(length) + " at " + std::to_string(offset);
  if (offset < contents.size()) {
    const size_t inside = std::min(length, contents.size() - offset);
    contents.replace(offset, inside, std::string(inside, '\0'));
  }
  const Fd fd(open(Path(name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!Done(fd.get())) return false;
  return Done(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(offset), static_cast<off_t>(length)));
}

bool CrashModel::Rename(Files& files, const std::string& name) {
  const std::string to = "f" + std::to_string(random_() % kNames);
  words_ += ": rename to " + to;
  if (to != name) {
    files[to] = files[name];
    files.erase(name);
  }
  return Done(rename(Path(name).c_str(), Path(to).c_str()));
}

bool CrashModel::Sync(const std::string& path) {
  words_ = "fsync of " + path.substr(directory_.size());
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!Done(fd.get())) return false;
  made_durable_ = true;
  return Done(fsync(fd.get()));
}

CrashModel::State CrashModel::Describe(const Files& files) {
  State state;
  for (const auto& [name, contents] : files)
    state[name] = Crc32c(contents.data(), contents.size());
  return state;
}

size_t CrashModel::FindStep() const {
  Files files;
  for (const std::string& name : ListDirectory(directory_)) files[name] = ReadFile(Path(name));
  const State actual = Describe(files);
  for (size_t step = states_.size(); step-- > durable_step_;) {
    if (states_[step] == actual) return step;
  }
  throw std::runtime_error(Difference(actual));
}

std::string CrashModel::Difference(const State& actual) const {
  std::string text = "not the state after any of the steps " + std::to_string(durable_step_) +
                     " (the last durable one) to " + std::to_string(step_count()) + "\n";
  for (size_t step = 0; step < durable_step_; ++step) {
    if (states_[step] == actual) text += "it is that after step " + std::to_string(step) + "\n";
  }
  // For each file, the steps that left it as it is now.
  for (const auto& [name, sum] : actual) {
    text += name + " is as after step";
    bool found = false, before = false;
    for (size_t step = 0; step < states_.size(); ++step) {
      const auto entry = states_[step].find(name);
      const bool same = entry != states_[step].end() && entry->second == sum;
      if (same && !before) text += " " + std::to_string(step) + "..";
      if (!same && before) text += std::to_string(step - 1);
      found |= same;
      before = same;
    }
    text += found ? "\n" : " none\n";
  }
  for (const auto& [name, sum] : states_[durable_step_]) {
    if (!actual.contains(name)) text += name + " is missing\n";
  }
  const size_t first = step_count() > 30 ? step_count() - 30 : 0;
  for (size_t step = first; step <= step_count(); ++step)
    text += std::to_string(step) + ": " + journal_[step] + "\n";
  return text;
}

void CrashModel::GoOnFrom(size_t step) {
  files_.clear();
  for (const std::string& name : ListDirectory(directory_))
    files_[name] = ReadFile(Path(name));
  // What survived the crash is durable.
  states_.resize(step + 1);
  journal_.resize(step + 1);
  durable_step_ = step;
}

}  // namespace cofs
