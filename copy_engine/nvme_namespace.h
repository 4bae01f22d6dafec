// NvmeNamespace: one NVMe namespace, opened for Copy commands (NVM Command Set
// Specification, "Copy command"), and the codec of these commands.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "copy_engine/device_stack.h"
#include "copy_engine/planner.h"

namespace cofs {

// What Identify says that matters for Copy.
struct NvmeCopyFacts {
  uint32_t nsid = 0;
  uint32_t lba_bytes = 0;
  uint64_t size_bytes = 0;
  uint8_t descriptor_format = 0;  // 1 for namespaces formatted with a 32 or 64-bit guard
  uint32_t segment_lbas_max = 0;  // MSSRL
  uint32_t command_lbas_max = 0;  // MCL
  uint32_t segments_max = 0;      // MSRC + 1, as far as they fit into one page
};

// `controller`, `name_space` and `nvm` are the 4096 bytes of Identify with CNS 01h,
// 00h and 05h; `nvm` is empty where the controller does not know it. kNotSupported,
// in words, where there is no Copy.
Result<NvmeCopyFacts> DecodeNvmeIdentify(uint32_t nsid, std::span<const char> controller,
                                         std::span<const char> name_space,
                                         std::span<const char> nvm);
CopyLimits LimitsOf(const NvmeCopyFacts& facts);

// A Copy command as it goes to the controller: its words and the length of its list
// of source ranges.
struct NvmeCopyWords {
  uint32_t cdw10 = 0;
  uint32_t cdw11 = 0;
  uint32_t cdw12 = 0;
  uint32_t list_bytes = 0;
};
inline constexpr uint8_t kNvmeCopyOpcode = 0x19;
inline constexpr size_t kNvmeCopyListBytesMax = 4096;  // one page: never above MDTS

// `list` has room for the command's segments: at most kNvmeCopyListBytesMax.
NvmeCopyWords EncodeNvmeCopy(const CopyCommand& command, const NvmeCopyFacts& facts,
                             std::span<char> list);

// How a Copy command ended.
struct NvmeCopyEnd {
  uint64_t completed_bytes = 0;
  CopyStop stop = CopyStop::kDone;
  std::optional<Error> error;
};
// `result` as from the kernel: negative errno, else the status with its DNR bit;
// `word0` is dword 0 of the completion.
NvmeCopyEnd DecodeNvmeEnd(const CopyCommand& command, int32_t result, uint32_t word0);

// "Invalid Command Opcode (status 0x001, do not retry)"
std::string NvmeStatusWords(uint32_t status);

class NvmeNamespace {
 public:
  // kNotSupported, in words, where there is no Copy.
  static Result<NvmeNamespace> Open(const StackLeaf& leaf);

  const NvmeCopyFacts& facts() const { return facts_; }
  const std::string& name() const { return name_; }
  int block_fd() const { return block_.get(); }
  // The namespace's generic character device, -1 where there is none.
  int generic_fd() const { return generic_.get(); }
  // Why there is none.
  const std::string& no_generic_reason() const { return no_generic_reason_; }

 private:
  NvmeNamespace() = default;
  Status Identify();
  void OpenGeneric(const StackLeaf& leaf);

  std::string name_;
  NvmeCopyFacts facts_;
  Fd block_;
  Fd generic_;
  std::string no_generic_reason_;
};

}  // namespace cofs
