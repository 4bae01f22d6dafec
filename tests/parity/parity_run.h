// ParityRun: one case on one way of copying: a volume, two files, a model of them, and
// notes of what was answered, to be compared with the notes of another way.
//
// Every copy is compared with the model at once; so a case needs no expectation of its
// own about bytes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/core/volume.h"
#include "tests/parity/parity_way.h"

namespace cofs {

enum class ParityFile : uint8_t { kSource, kDestination };

struct ParityCopy {
  ParityFile from = ParityFile::kSource;
  uint64_t source_offset = 0;
  ParityFile to = ParityFile::kDestination;
  uint64_t destination_offset = 0;
  uint64_t length_bytes = 0;
};

class ParityRun {
 public:
  static constexpr uint64_t kVolumeBytes = 96 << 20;

  // Null when the way is not there; `why_not` says why.
  static std::unique_ptr<ParityRun> Start(const ParityWay& way, std::string* why_not);
  // Only the notes are wanted: what they tell of is not looked at.
  void TakeNotesOnly() { is_checked_ = false; }
  ~ParityRun();

  // ---- both in the volume and in the model ----
  void Write(ParityFile file, uint64_t offset, uint64_t length_bytes);
  void Allocate(ParityFile file, int mode, uint64_t offset, uint64_t length_bytes);
  void Truncate(ParityFile file, uint64_t size_bytes);
  // Notes the answer; what was copied is applied to the model.
  void Copy(const ParityCopy& copy);
  // Returns the answer: how much is copied is the way's own business, and not noted.
  Result<uint64_t> CopySome(const ParityCopy& copy, std::function<bool()> interrupted);
  // By the engine's own choice, for what no device does.
  void SetPolicy(CopyRangePolicy policy);

  // Takes all free space but so many bytes; FreeFiller() gives it back.
  void Fill(uint64_t bytes_left);
  void FreeFiller();

  void Sync();
  // Unmount, check of every record and all data, mount.
  void Remount();
  // As by a crash: what was not synced may be lost.
  void Crash();
  // Both files have the model's contents.
  void CheckContents();
  bool HasContents(ParityFile file, const std::string& contents);
  const std::string& ModelOf(ParityFile file) const { return files_[Index(file)].model; }
  void SetModel(ParityFile file, std::string contents) {
    files_[Index(file)].model = std::move(contents);
  }

  Volume& volume() { return *volume_; }
  InodeId IdOf(ParityFile file) const { return files_[Index(file)].id; }
  void Note(std::string text) { notes_.push_back(std::move(text)); }
  // Size, blocks, data and holes of both files; ends the case.
  std::vector<std::string> Finish();
  // By the way under test, over all mounts; and by others, under the way's own policy.
  uint64_t bytes_by_way() const { return bytes_by_way_; }
  uint64_t bytes_by_others() const { return bytes_by_others_; }

 private:
  struct File {
    InodeId id;
    std::string model;
  };
  explicit ParityRun(const ParityWay& way) : way_(way) {}
  static size_t Index(ParityFile file) { return static_cast<size_t>(file); }
  void Mount();
  void Unmount();
  void CountBytes();
  std::string ReadAll(ParityFile file);
  std::string FactsOf(ParityFile file);

  const ParityWay way_;
  CopyRangePolicy policy_ = way_.policy;
  std::unique_ptr<ParityDevice> device_;
  std::unique_ptr<Volume> volume_;
  std::array<File, 2> files_;
  InodeId filler_;
  uint64_t next_seed_ = 1;
  bool is_checked_ = true;
  std::vector<std::string> notes_;
  uint64_t bytes_by_way_ = 0, bytes_by_others_ = 0;
};

}  // namespace cofs
