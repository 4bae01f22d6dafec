#include "fuzz/ioctl_target.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <optional>
#include <thread>

#include "base/log.h"
#include "fs/fuse/fuse_session.h"
#include "fs/fuse/mount_options.h"
#include "fs/fuse/operations.h"
#include "fsck/volume_check.h"
#include "fuzz/ioctl_commands.h"
#include "tests/core/test_volume.h"
#include "tests/fuse/fake_kernel.h"

namespace cofs {
namespace {

constexpr int kCallsMax = 16;
constexpr int kInputsOfAVolume = 300;
constexpr size_t kFileBytes = 100'000;
// Behind them: a command of the input's own, and what ioctls are for.
enum : size_t { kOwnCommand = std::size(kIoctlCommands), kCopy, kWrite, kCallKinds };

struct Call {
  uint8_t place =
      0;  // bits 0-2 inode, 3-4 rights of the handle, 5 caller, 6 on a directory
  uint8_t kind = 0;
  std::string argument;
};

std::string Encoded(const std::vector<Call>& calls) {
  std::string out;
  for (const Call& call : calls) {
    out += static_cast<char>(call.place);
    out += static_cast<char>(call.kind);
    const auto length = static_cast<uint16_t>(call.argument.size());
    out.append(reinterpret_cast<const char*>(&length), 2);
    out += call.argument;
  }
  return out;
}

class IoctlWorld {
 public:
  IoctlWorld() : volume_(64 << 20), operations_(*volume_) {
    SetOptions();
    FuseSession::Options options;
    options.thread_count = 1;
    auto session = FuseSession::Create(operations_, std::move(options));
    CHECK(session.ok());
    session_ = std::move(*session);
    std::thread kernel([this] {
      fuse_init_in in{};
      in.major = FUSE_KERNEL_VERSION;
      in.minor = 38;
      in.flags = FUSE_MAX_PAGES | FUSE_WRITEBACK_CACHE | FUSE_HAS_IOCTL_DIR;
      kernel_.Ask(FUSE_INIT, 0, BytesOf(in));
    });
    CHECK(session_->Start(kernel_.TakeDaemonEnd()).ok());
    kernel.join();
    for (const char* name : {"kept", "a", "b"}) nodes_.push_back(MakeAFile(name));
    nodes_.push_back(FUSE_ROOT_ID);
    const auto made = volume_->Create(kRootInode, "fifo", {.mode = S_IFIFO | 0644});
    CHECK(made.ok());
    nodes_.push_back(made->id.value());
    nodes_.push_back(999);  // of nobody
  }

  ~IoctlWorld() {
    Forget();
    kernel_.Close();
    session_.reset();
    CHECK(volume_.Unmount().ok(), "unmounting");
    const auto report = CheckVolume(volume_.memory(), {});
    CHECK(report.ok(), report.error().ToString());
    for (const Finding& finding : report->findings()) LogError(Describe(finding));
    CHECK(report->error_count() == 0, "the volume is damaged");
  }

  void Run(const Call& call) {
    const uint64_t node = nodes_[call.place % 8 % nodes_.size()];
    const bool on_directory = (call.place & 64) != 0;
    kernel_.set_caller((call.place & 32) != 0 ? 1000 : 0, ::getpid());
    const uint64_t handle = call.place >> 3 & 3;  // reads, writes
    if (call.kind % kCallKinds == kCopy) return Copy(call);
    if (call.kind % kCallKinds == kWrite) return Write(call);
    fuse_ioctl_in request{};
    std::string_view argument = call.argument;
    if (call.kind % kCallKinds == kOwnCommand) {
      if (argument.size() < 4) return;
      std::memcpy(&request.cmd, argument.data(), 4);
      argument.remove_prefix(4);
    } else {
      request.cmd = kIoctlCommands[call.kind % kCallKinds];
    }
    request.fh = handle;
    request.flags = on_directory ? FUSE_IOCTL_DIR : 0;
    request.in_size = static_cast<uint32_t>(argument.size());
    // As the kernel: room for the answer is in the number.
    request.out_size =
        (_IOC_DIR(request.cmd) & _IOC_READ) != 0 ? _IOC_SIZE(request.cmd) : 0;
    const Answer answer =
        kernel_.Ask(FUSE_IOCTL, node, BytesOf(request) + std::string(argument));
    CHECK(answer.error_number >= 0, "no answer");
    CHECK(answer.payload.size() <= sizeof(fuse_ioctl_out) + request.out_size,
          "an answer of more bytes than there is room for");
  }

  // Nobody has written to it.
  void ExpectKept() {
    fuse_read_in in{};
    in.size = kFileBytes;
    const Answer answer = kernel_.Ask(FUSE_READ, nodes_[0], BytesOf(in));
    CHECK(answer.payload == std::string(kFileBytes, 'k'), "the kept file has changed");
  }

 private:
  void SetOptions() {
    Operations::Options options;
    options.stats_text = [] { return std::string(10'000, 's'); };
    options.change_options = [this](std::string_view text) -> Status {
      MountOptions changed;
      changed.volume = volume_->options();
      TRY(ParseLiveOptions(text, changed));
      volume_->SetLiveOptions(changed.volume);
      return OkStatus();
    };
    options.after_write_back = [](InodeId, FileOffset, fuse_req_t request,
                                  std::function<void(Reply&)> answer) {
      Reply reply(request);
      answer(reply);
    };
    options.invalidate_attributes = [](InodeId) {};
    operations_.set_options(std::move(options));
  }

  uint64_t MakeAFile(const char* name) {
    fuse_create_in in{};
    in.flags = O_RDWR | O_CREAT;
    in.mode = S_IFREG | 0666;
    const Answer made =
        kernel_.Ask(FUSE_CREATE, FUSE_ROOT_ID, BytesOf(in) + NameBytes(name));
    CHECK(made.ok(), name);
    const uint64_t node = made.as<fuse_entry_out>().nodeid;
    fuse_write_in write{};
    write.fh = 3;
    write.size = kFileBytes;
    CHECK(kernel_.Ask(FUSE_WRITE, node, BytesOf(write) + std::string(kFileBytes, 'k'))
              .ok());
    return node;
  }
  void Forget() {
    for (const uint64_t node : nodes_)
      if (node != FUSE_ROOT_ID && node != 999) volume_->Forget(InodeId(node), 1);
  }
  // Never into the file that is kept.
  void Copy(const Call& call) {
    std::array<uint16_t, 3> blocks{};
    std::memcpy(blocks.data(), call.argument.data(),
                std::min(call.argument.size(), sizeof(blocks)));
    fuse_copy_file_range_in in{};
    in.off_in = uint64_t{blocks[0]} % 32 * kBlockBytes;
    in.off_out = uint64_t{blocks[1]} % 32 * kBlockBytes;
    in.len = uint64_t{blocks[2]} % 32 * kBlockBytes;
    in.nodeid_out = nodes_[1 + call.place % 2];
    CHECK(kernel_.Ask(FUSE_COPY_FILE_RANGE, nodes_[call.place / 2 % 3], BytesOf(in))
              .error_number >= 0);
  }
  void Write(const Call& call) {
    fuse_write_in in{};
    in.offset = uint64_t{call.argument.size()} * 97 % kFileBytes;
    in.size = static_cast<uint32_t>(call.argument.size());
    kernel_.Ask(FUSE_WRITE, nodes_[1 + call.place % 2], BytesOf(in) + call.argument);
  }

  TestVolume volume_;
  FakeKernel kernel_;
  Operations operations_;
  std::unique_ptr<FuseSession> session_;
  std::vector<uint64_t> nodes_;
};

}  // namespace

void RunIoctls(std::span<const char> input) {
  // The last one is left to the end of the process: its volume can't be taken down after
  // what it stands on.
  static IoctlWorld* world = nullptr;
  static int age = 0;
  if (world == nullptr || ++age > kInputsOfAVolume) {
    SetLogLevel(LogLevel::kError);
    delete world;
    world = new IoctlWorld;
    age = 0;
  }
  for (int i = 0; i < kCallsMax && input.size() >= 4; ++i) {
    Call call;
    call.place = static_cast<uint8_t>(input[0]);
    call.kind = static_cast<uint8_t>(input[1]);
    uint16_t length = 0;
    std::memcpy(&length, input.data() + 2, 2);
    input = input.subspan(4);
    const size_t bytes = std::min<size_t>(length, input.size());
    call.argument.assign(input.data(), bytes);
    input = input.subspan(bytes);
    // The kept file is for looking at and for copying from.
    const bool writes = (call.place & 16) != 0;
    if (call.place % 8 == 0 && writes) call.place ^= 16;
    world->Run(call);
  }
  world->ExpectKept();
}

std::vector<std::string> SeedIoctls() {
  cofs_ioc_copy_arm arm{};
  arm.length = 8 * kBlockBytes;
  arm.how = COFS_ARM_CLONE;
  cofs_ioc_set set{};
  const std::string_view text = "copy=share,verify_copy=all";
  set.length = static_cast<__u32>(text.size());
  text.copy(set.options, text.size());
  cofs_ioc_map map{};
  map.end = UINT64_MAX;
  const fstrim_range trim{0, UINT64_MAX, 0};
  const uint16_t copy[3] = {0, 0, 8};
  constexpr uint8_t kBoth = 3 << 3;
  return {Encoded({{1 | kBoth, 2, BytesOf(arm)},
                   {1, kCopy, BytesOf(copy)},
                   {2 | kBoth, 6, BytesOf(cofs_ioc_unshare{0, 1 << 20})}}),
          Encoded({{0 | 1 << 3, 4, ""}, {1 | kBoth, 5, BytesOf(cofs_ioc_dedupe{})}}),
          Encoded({{3 | 64, 7, BytesOf(set)}, {3 | 64 | 32, 7, BytesOf(set)}}),
          Encoded({{1, 1, BytesOf(map)}, {1, 0, BytesOf(cofs_ioc_stats{})}, {1, 8, ""}}),
          Encoded({{3 | 64, 10, BytesOf(trim)},
                   {2 | kBoth, 9, BytesOf(cofs_ioc_write_back{})},
                   {2 | kBoth, 3, BytesOf(cofs_ioc_copy_report{})}}),
          Encoded({{1, 11, ""},
                   {1, 12, std::string(8, '\0')},
                   {1, 13, ""},
                   {1, 14, BytesOf(fsxattr{})},
                   {1, kWrite, std::string(5000, 'w')}})};
}

}  // namespace cofs
