#include "tests/vm/power/load_check.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "tests/vm/guest/stream.h"
#include "tests/vm/power/load_plan.h"

namespace cofs {
namespace {

namespace fs = std::filesystem;

// Contents of a thread's files.
using LoadFiles = std::array<std::optional<std::string>, kLoadFiles>;

LoadFiles ReadFiles(const fs::path& directory) {
  LoadFiles files;
  for (int file = 0; file < kLoadFiles; ++file) {
    const fs::path path = directory / LoadFileName(file);
    if (!fs::exists(path)) continue;
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    if (fs::file_size(path) > 0) text << in.rdbuf();
    if (!in.good() || text.str().size() != fs::file_size(path))
      throw std::runtime_error(path.string() + " can't be read");
    files[static_cast<size_t>(file)] = text.str();
  }
  return files;
}

void WriteFiles(const fs::path& directory, const LoadFiles& files) {
  fs::remove_all(directory);
  fs::create_directories(directory);
  for (int file = 0; file < kLoadFiles; ++file) {
    const auto& contents = files[static_cast<size_t>(file)];
    if (!contents) continue;
    std::ofstream out(directory / LoadFileName(file), std::ios::binary);
    out << *contents;
    if (!out.flush()) throw std::runtime_error("can't write the state");
  }
}

LoadSizes SizesOf(const LoadFiles& files) {
  LoadSizes sizes;
  for (size_t file = 0; file < files.size(); ++file)
    if (files[file]) sizes[file] = files[file]->size();
  return sizes;
}

void Put(std::string& contents, uint64_t offset, const std::string& bytes) {
  if (contents.size() < offset + bytes.size()) contents.resize(offset + bytes.size());
  contents.replace(offset, bytes.size(), bytes);
}

// The files after an operation.
void Apply(const LoadOperation& operation, LoadFiles& files) {
  auto& target = files[static_cast<size_t>(operation.file)];
  auto& source = files[static_cast<size_t>(operation.source)];
  switch (operation.kind) {
    case LoadKind::kCreate:
      target = "";
      break;
    case LoadKind::kWriteDirect:
    case LoadKind::kWriteDurable:
    case LoadKind::kWriteBuffered: {
      std::string bytes(operation.length, '\0');
      FillFromStream(bytes.data(), operation.seed, operation.offset, operation.length);
      Put(*target, operation.offset, bytes);
      break;
    }
    case LoadKind::kCopy:
    case LoadKind::kClone:
      Put(*target, operation.offset, source->substr(operation.source_offset, operation.length));
      break;
    case LoadKind::kTruncate:
      target->resize(operation.length);
      break;
    case LoadKind::kPunch:
      if (operation.offset < target->size()) {
        const uint64_t inside = std::min(operation.length, target->size() - operation.offset);
        Put(*target, operation.offset, std::string(inside, '\0'));
      }
      break;
    case LoadKind::kRename:
      if (operation.source == operation.file) break;
      target = std::move(source);
      source.reset();
      break;
    case LoadKind::kUnlink:
      target.reset();
      break;
    case LoadKind::kFsync:
    case LoadKind::kFsyncDirectory:
      break;
  }
}

std::string BlockOf(const std::string& contents, uint64_t at, uint64_t count) {
  std::string block = at < contents.size() ? contents.substr(at, count) : "";
  block.resize(count);
  return block;
}

// Whether each block of `actual` is that of one of the two.
bool IsBetween(const std::string& actual, const std::string& before, const std::string& after) {
  if (actual.size() < std::min(before.size(), after.size()) ||
      actual.size() > std::max(before.size(), after.size()))
    return false;
  for (uint64_t at = 0; at < actual.size(); at += kLoadBlock) {
    const uint64_t count = std::min(kLoadBlock, actual.size() - at);
    const std::string block = BlockOf(actual, at, count);
    if (block != BlockOf(before, at, count) && block != BlockOf(after, at, count)) return false;
  }
  return true;
}

// What the log tells about the threads.
struct LoadProgress {
  std::array<uint64_t, kLoadThreads> done{};     // the last operation that is done
  std::array<uint64_t, kLoadThreads> durable{};  // the last one that is durable
  std::array<std::vector<uint64_t>, kLoadThreads> fingerprints;
};

LoadProgress ReadLog(const std::string& path) {
  LoadProgress progress;
  // What was done when the thread's current operation began.
  std::array<std::array<uint64_t, kLoadThreads>, kLoadThreads> at_begin{};
  std::array<uint64_t, kLoadThreads> begun{};
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) break;  // cut off
    std::istringstream words(line);
    std::string what;
    size_t thread = 0;
    uint64_t number = 0, fingerprint = 0;
    words >> what;
    if (what == "R") continue;
    words >> thread >> number;
    if (what == "E" || !words || thread >= kLoadThreads) throw std::runtime_error(line);
    if (what == "S") {
      begun[thread] = number;
      at_begin[thread] = progress.done;
      continue;
    }
    if (!(words >> fingerprint) || what != "D" || number != progress.done[thread] + 1)
      throw std::runtime_error("the log can't be read: " + line);
    progress.done[thread] = number;
    progress.fingerprints[thread].push_back(fingerprint);
    if (begun[thread] != number) continue;
    for (size_t each = 0; each < kLoadThreads; ++each)
      progress.durable[each] = std::max(progress.durable[each], at_begin[thread][each]);
    progress.durable[thread] = number;
  }
  return progress;
}

std::string Difference(const LoadFiles& actual, const LoadFiles& expected) {
  std::string text;
  for (size_t file = 0; file < actual.size(); ++file) {
    if (actual[file] == expected[file]) continue;
    text += " " + LoadFileName(static_cast<int>(file));
    if (!actual[file] || !expected[file]) {
      text += actual[file] ? " is there," : " is missing,";
      continue;
    }
    const std::string &a = *actual[file], &e = *expected[file];
    const auto at = std::mismatch(a.begin(), a.end(), e.begin(), e.end()).first - a.begin();
    text += " differs at " + std::to_string(at) + " (it has " + std::to_string(a.size()) +
            " bytes, not " + std::to_string(e.size()) + "),";
  }
  return text;
}

// One thread's directory, compared.
class LoadCheck {
 public:
  LoadCheck(int thread, uint64_t seed, LoadFiles model, const LoadFiles& actual,
            const LoadProgress& progress)
      : thread_(static_cast<size_t>(thread)),
        plan_(LoadThreadSeed(seed, thread), SizesOf(model)),
        model_(std::move(model)),
        actual_(actual),
        progress_(progress) {}

  // The operation after which the files were as they are; throws what differs.
  std::string Find() {
    const uint64_t durable = progress_.durable[thread_], last = progress_.done[thread_] + 1;
    std::string words;
    for (uint64_t done = 0;; ++done) {
      if (done >= durable && actual_ == model_) return std::to_string(done);
      if (done == last) break;
      const LoadOperation operation = plan_.Next();
      if (done + 1 < last && progress_.fingerprints[thread_][done] != operation.fingerprint())
        throw std::runtime_error("another plan: operation " + std::to_string(done + 1));
      if (done == durable || done + 1 == last)
        words += "\n  after " + std::to_string(done) + ":" + Difference(actual_, model_) +
                 " then comes " + operation.Words();
      LoadFiles after = model_;
      Apply(operation, after);
      if (done >= durable && IsPartOf(operation, after))
        return std::to_string(done) + " and a part of the next";
      model_ = std::move(after);
    }
    throw std::runtime_error("as after none of its operations " + std::to_string(durable) +
                             " (durable) to " + std::to_string(last) + words);
  }

 private:
  bool IsPartOf(const LoadOperation& operation, const LoadFiles& after) const {
    if (!operation.by_pieces()) return false;
    for (size_t file = 0; file < actual_.size(); ++file) {
      if (file != static_cast<size_t>(operation.file)) {
        if (actual_[file] != model_[file]) return false;
      } else if (!actual_[file] || !IsBetween(*actual_[file], *model_[file], *after[file])) {
        return false;
      }
    }
    return true;
  }

  const size_t thread_;
  LoadPlan plan_;
  LoadFiles model_;
  const LoadFiles& actual_;
  const LoadProgress& progress_;
};

}  // namespace

int CheckLoad(const std::string& directory, uint64_t seed, const std::string& log,
              const std::string& state) {
  int status = 0;
  std::vector<LoadFiles> found;
  try {
    const LoadProgress progress = ReadLog(log);
    for (int thread = 0; thread < kLoadThreads; ++thread) {
      const std::string name = LoadDirectoryName(thread);
      const LoadFiles actual = ReadFiles(fs::path(directory) / name);
      LoadCheck check(thread, seed, ReadFiles(fs::path(state) / name), actual, progress);
      const auto index = static_cast<size_t>(thread);
      try {
        std::printf("%s: %ju operations done, %ju of them durable; as after operation %s\n",
                    name.c_str(), uintmax_t{progress.done[index]},
                    uintmax_t{progress.durable[index]}, check.Find().c_str());
        found.push_back(actual);
      } catch (const std::exception& error) {
        std::printf("%s: WRONG: %s\n", name.c_str(), error.what());
        status = 1;
      }
    }
    for (int thread = 0; status == 0 && thread < kLoadThreads; ++thread)
      WriteFiles(fs::path(state) / LoadDirectoryName(thread), found[static_cast<size_t>(thread)]);
  } catch (const std::exception& error) {
    std::printf("WRONG: %s\n", error.what());
    return 1;
  }
  return status;
}

}  // namespace cofs
