#include "copy_engine/nvme_namespace.h"

#include <fcntl.h>
#include <libnvme.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "copy_engine/drive_node.h"

namespace cofs {
namespace {

constexpr uint32_t kOncsCopy = 1u << 8;
constexpr uint32_t kCtrattExtendedFormats = 1u << 15;
constexpr uint32_t kDoNotRetry = 0x4000;
constexpr size_t kIdentifyBytes = 4096;

size_t EntryBytes(uint8_t descriptor_format) {
  return descriptor_format == 0 ? sizeof(nvme_copy_range) : sizeof(nvme_copy_range_f1);
}
static_assert(sizeof(nvme_copy_range) == 32);
static_assert(sizeof(nvme_copy_range_f1) == 40);

Error NoNvmeCopy(std::string reason) {
  return Error(ErrorCode::kNotSupported, std::move(reason));
}

// The guard of the namespace's format: 0 for 16 bits, 1 for 32, 2 for 64.
uint32_t GuardOf(const nvme_id_ctrl& controller, std::span<const char> nvm,
                 uint32_t format) {
  if ((le32toh(controller.ctratt) & kCtrattExtendedFormats) == 0) return 0;
  if (nvm.size() < sizeof(nvme_nvm_id_ns)) return 0;
  nvme_nvm_id_ns extended;
  std::memcpy(&extended, nvm.data(), sizeof(extended));
  return le32toh(extended.elbaf[format]) >> 7 & 3;
}

// Whether a command with this status was carried out by the drive until one of its
// ranges failed. Only then is the count of completed ranges worth anything: a drive
// that refuses a command leaves anything there.
bool FailedInRange(uint32_t type_and_code) {
  constexpr uint32_t kInternalError = 0x006, kLbaOutOfRange = 0x080;
  return type_and_code == kInternalError || type_and_code == kLbaOutOfRange ||
         type_and_code >> 8 == 2;
}

std::string GenericName(const std::string& name) { return "ng" + name.substr(4); }

}  // namespace

Result<NvmeCopyFacts> DecodeNvmeIdentify(uint32_t nsid, std::span<const char> controller,
                                         std::span<const char> name_space,
                                         std::span<const char> nvm) {
  nvme_id_ctrl ctrl;
  nvme_id_ns ns;
  if (controller.size() < sizeof(ctrl) || name_space.size() < sizeof(ns))
    return NoNvmeCopy("short answer to Identify");
  std::memcpy(&ctrl, controller.data(), sizeof(ctrl));
  std::memcpy(&ns, name_space.data(), sizeof(ns));
  if ((le16toh(ctrl.oncs) & kOncsCopy) == 0)
    return NoNvmeCopy("the controller has no Copy command (ONCS)");

  NvmeCopyFacts facts;
  facts.nsid = nsid;
  const uint32_t format =
      (ns.flbas & 0xf) | (ns.nlbaf > 16 ? (ns.flbas & 0x60u) >> 1 : 0);
  const uint32_t shift = ns.lbaf[format].ds;
  if (shift < 9 || shift > kBlockShift)
    return NoNvmeCopy(StrCat("logical blocks of 2^", shift, " bytes"));
  facts.lba_bytes = 1u << shift;
  const uint64_t lba_count = le64toh(ns.nsze);
  if (lba_count > UINT64_MAX >> shift) return NoNvmeCopy("impossible size of the namespace");
  facts.size_bytes = lba_count << shift;
  if ((ns.dps & 7) != 0) return NoNvmeCopy("the namespace carries protection information");

  facts.segment_lbas_max = std::min<uint32_t>(le16toh(ns.mssrl), 65536);
  facts.command_lbas_max = le32toh(ns.mcl);
  if (facts.segment_lbas_max == 0 || facts.command_lbas_max == 0)
    return NoNvmeCopy("the namespace allows copies of nothing only (MSSRL or MCL is zero)");
  facts.descriptor_format = GuardOf(ctrl, nvm, format) == 0 ? 0 : 1;
  // Format 0 is there even where an early controller does not say so.
  if (facts.descriptor_format == 1 && (le16toh(ctrl.ocfs) & 2) == 0)
    return NoNvmeCopy("the controller lacks the Copy format for a wide guard (OCFS)");
  facts.segments_max = std::min<uint32_t>(
      uint32_t{ns.msrc} + 1, kNvmeCopyListBytesMax / EntryBytes(facts.descriptor_format));
  return facts;
}

CopyLimits LimitsOf(const NvmeCopyFacts& facts) {
  CopyLimits limits;
  limits.alignment_bytes = facts.lba_bytes;
  limits.segment_bytes_max = uint64_t{facts.segment_lbas_max} * facts.lba_bytes;
  limits.command_bytes_max = uint64_t{facts.command_lbas_max} * facts.lba_bytes;
  limits.segments_max = facts.segments_max;
  return limits;
}

NvmeCopyWords EncodeNvmeCopy(const CopyCommand& command, const NvmeCopyFacts& facts,
                             std::span<char> list) {
  const size_t entry_bytes = EntryBytes(facts.descriptor_format);
  const size_t count = command.segments.size();
  CHECK(count > 0 && count <= facts.segments_max && count * entry_bytes <= list.size(),
        count, " segments");
  std::memset(list.data(), 0, count * entry_bytes);
  for (size_t i = 0; i < count; ++i) {
    const CopySegment& segment = command.segments[i];
    const uint64_t lbas = segment.length_bytes / facts.lba_bytes;
    CHECK(lbas > 0 && lbas <= facts.segment_lbas_max, lbas, " blocks in a segment");
    // Both formats have these two fields in the same place.
    const uint64_t start = htole64(segment.source / facts.lba_bytes);
    const uint16_t last = htole16(static_cast<uint16_t>(lbas - 1));
    char* entry = list.data() + i * entry_bytes;
    std::memcpy(entry + offsetof(nvme_copy_range, slba), &start, sizeof(start));
    std::memcpy(entry + offsetof(nvme_copy_range, nlb), &last, sizeof(last));
  }
  const uint64_t destination = command.destination / facts.lba_bytes;
  NvmeCopyWords words;
  words.cdw10 = static_cast<uint32_t>(destination);
  words.cdw11 = static_cast<uint32_t>(destination >> 32);
  words.cdw12 = static_cast<uint32_t>(count - 1) | uint32_t{facts.descriptor_format} << 8;
  words.list_bytes = static_cast<uint32_t>(count * entry_bytes);
  return words;
}
static_assert(offsetof(nvme_copy_range, slba) == offsetof(nvme_copy_range_f1, slba));
static_assert(offsetof(nvme_copy_range, nlb) == offsetof(nvme_copy_range_f1, nlb));

std::string NvmeStatusWords(uint32_t status) {
  const char* text = nvme_status_to_string(static_cast<int>(status & 0x7ff), false);
  std::string words = text == nullptr ? "" : text;
  // The library's texts are a name, a colon and a sentence.
  words = words.substr(0, words.find(':'));
  char number[40];
  std::snprintf(number, sizeof(number), " (status 0x%03x%s)", status & 0x7ff,
                (status & kDoNotRetry) != 0 ? ", do not retry" : "");
  return words + number;
}

NvmeCopyEnd DecodeNvmeEnd(const CopyCommand& command, int32_t result, uint32_t word0) {
  NvmeCopyEnd end;
  if (result == 0) {
    end.completed_bytes = command.length_bytes;
    return end;
  }
  if (result < 0) {
    end.stop = CopyStop::kWayFailed;
    end.error = ErrorOfErrno(-result, "NVMe Copy");
    return end;
  }
  const auto status = static_cast<uint32_t>(result);
  const uint32_t type_and_code = status & 0x7ff;
  if (type_and_code >> 8 == 3) {
    // The path failed or the host gave the command up.
    end.stop = CopyStop::kCopyFailed;
    end.error = Error(ErrorCode::kRetry,
                      "NVMe Copy that may still run: " + NvmeStatusWords(status));
    return end;
  }
  if (FailedInRange(type_and_code) && word0 < command.segments.size())
    end.completed_bytes = command.BytesOfSegments(word0);
  end.stop = CopyStop::kWayFailed;
  end.error = Error(ErrorCode::kIo, "NVMe Copy: " + NvmeStatusWords(status));
  return end;
}

Result<NvmeNamespace> NvmeNamespace::Open(const StackLeaf& leaf) {
  if (leaf.drive != DriveKind::kNvme || !leaf.name.starts_with("nvme"))
    return NoNvmeCopy("not an NVMe namespace");
  NvmeNamespace opened;
  opened.name_ = leaf.name;
  TRY_ASSIGN(opened.block_, OpenDriveNode(leaf));
  if (const Status identified = opened.Identify(); !identified.ok())
    return identified.error().Within(leaf.name);
  if (opened.facts_.size_bytes < leaf.size_bytes)
    return NoNvmeCopy(leaf.name + ": the namespace is smaller than its block device");
  opened.OpenGeneric(leaf);
  return opened;
}

Status NvmeNamespace::Identify() {
  uint32_t nsid = 0;
  if (nvme_get_nsid(block_.get(), &nsid) != 0)
    return ErrorOfErrno(errno, "id of the namespace");
  nvme_id_ctrl controller = {};
  nvme_id_ns name_space = {};
  nvme_nvm_id_ns nvm = {};
  const auto check = [](int result) -> Status {
    if (result < 0) return ErrorOfErrno(errno, "Identify");
    if (result > 0) return NoNvmeCopy("Identify: " + NvmeStatusWords(result));
    return OkStatus();
  };
  TRY(check(nvme_identify_ctrl(block_.get(), &controller)));
  TRY(check(nvme_identify_ns(block_.get(), nsid, &name_space)));
  const bool has_nvm =
      (le32toh(controller.ctratt) & kCtrattExtendedFormats) != 0 &&
      nvme_identify_ns_csi(block_.get(), nsid, NVME_UUID_NONE, NVME_CSI_NVM, &nvm) == 0;
  const auto bytes = [](const auto& identify) {
    static_assert(sizeof(identify) == kIdentifyBytes);
    return std::span<const char>(reinterpret_cast<const char*>(&identify),
                                 kIdentifyBytes);
  };
  TRY_ASSIGN(facts_, DecodeNvmeIdentify(nsid, bytes(controller), bytes(name_space),
                                        has_nvm ? bytes(nvm) : std::span<const char>()));
  return OkStatus();
}

void NvmeNamespace::OpenGeneric(const StackLeaf& leaf) {
  const std::string name = GenericName(leaf.name);
  std::ifstream file("/sys/class/nvme-generic/" + name + "/dev");
  unsigned major = 0, minor = 0;
  char colon = 0;
  if (!(file >> major >> colon >> minor)) {
    no_generic_reason_ = "the kernel has no " + name;
    return;
  }
  Fd fd(::open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || !S_ISCHR(info.st_mode) ||
      info.st_rdev != makedev(major, minor)) {
    no_generic_reason_ = "/dev/" + name + " can't be opened";
    return;
  }
  uint32_t nsid = 0;
  if (nvme_get_nsid(fd.get(), &nsid) != 0 || nsid != facts_.nsid) {
    no_generic_reason_ = name + " is another namespace";
    return;
  }
  generic_ = std::move(fd);
}

}  // namespace cofs
