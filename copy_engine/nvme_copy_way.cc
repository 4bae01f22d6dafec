#include "copy_engine/nvme_copy_way.h"

#include <libnvme.h>
#include <linux/nvme_ioctl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/aligned_buffer.h"
#include "copy_engine/nvme_namespace.h"
#include "device/ring.h"

namespace cofs {
namespace {

// More in flight than this does not make a drive faster.
constexpr unsigned kQueueDepthMax = 64;

using Time = std::chrono::steady_clock::time_point;

// Follows a run of commands: what to send next, what came back.
class Commands {
 public:
  Commands(const CopyPlan& plan, const CopyTask& task, CopyProgress& progress)
      : plan_(plan), task_(task), progress_(progress) {}

  // The next to send, nullptr when there is none or no more are to be sent.
  const CopyCommand* Next() {
    if (outcome_.stop != CopyStop::kDone || next_ == plan_.commands.size())
      return nullptr;
    if (task_.interrupted && task_.interrupted()) {
      outcome_.stop = CopyStop::kInterrupted;
      return nullptr;
    }
    ++outcome_.command_count;
    return &plan_.commands[next_++];
  }

  void End(const CopyCommand& command, int32_t result, uint32_t word0, Time sent_at) {
    if (task_.latency != nullptr)
      task_.latency->Add(std::chrono::steady_clock::now() - sent_at);
    NvmeCopyEnd end = DecodeNvmeEnd(command, result, word0);
    progress_.Add(command, end.completed_bytes);
    if (end.stop == CopyStop::kDone) return;
    // One that may still run outweighs what was before it.
    if (outcome_.error && end.stop != CopyStop::kCopyFailed) return;
    outcome_.stop = end.stop;
    outcome_.error = std::move(end.error);
  }

  CommandRunner::Outcome TakeOutcome() { return std::move(outcome_); }

 private:
  const CopyPlan& plan_;
  const CopyTask& task_;
  CopyProgress& progress_;
  CommandRunner::Outcome outcome_;
  size_t next_ = 0;
};

// A ring and the lists of source ranges of the commands in it.
class Session {
 public:
  static Result<std::unique_ptr<Session>> Create() {
    const int opcodes[] = {IORING_OP_URING_CMD};
    TRY_ASSIGN(auto ring,
               Ring::Create(
                   {.entry_count = kQueueDepthMax, .big_entries = true, .opcodes = opcodes}));
    return std::unique_ptr<Session>(new Session(std::move(ring)));
  }

  void Run(const std::vector<NvmeNamespace>& namespaces, unsigned depth,
           Commands& commands) {
    depth = std::clamp(depth, 1u, kQueueDepthMax);
    std::vector<uint32_t> free_slots;
    for (uint32_t slot = 0; slot < depth; ++slot) free_slots.push_back(slot);
    while (true) {
      while (!free_slots.empty()) {
        const CopyCommand* command = commands.Next();
        if (command == nullptr) break;
        Prepare(namespaces[command->leaf], *command, free_slots.back());
        free_slots.pop_back();
      }
      if (free_slots.size() == depth) return;
      ring_.SubmitAndWait();
      while (const auto completion = ring_.Pop()) {
        const auto slot = static_cast<uint32_t>(completion->user_data);
        commands.End(*in_flight_[slot], completion->result,
                     static_cast<uint32_t>(completion->extra[0]), sent_at_[slot]);
        free_slots.push_back(slot);
      }
    }
  }

 private:
  explicit Session(Ring ring)
      : ring_(std::move(ring)), lists_(kQueueDepthMax * kNvmeCopyListBytesMax) {}

  void Prepare(const NvmeNamespace& target, const CopyCommand& command, uint32_t slot) {
    const auto list =
        lists_.span().subspan(slot * kNvmeCopyListBytesMax, kNvmeCopyListBytesMax);
    const NvmeCopyWords words = EncodeNvmeCopy(command, target.facts(), list);
    nvme_uring_cmd passed = {};
    passed.opcode = kNvmeCopyOpcode;
    passed.nsid = target.facts().nsid;
    passed.addr = reinterpret_cast<uint64_t>(list.data());
    passed.data_len = words.list_bytes;
    passed.cdw10 = words.cdw10;
    passed.cdw11 = words.cdw11;
    passed.cdw12 = words.cdw12;
    in_flight_[slot] = &command;
    sent_at_[slot] = std::chrono::steady_clock::now();
    io_uring_sqe* entry = ring_.NextEntry();
    std::memset(entry, 0, 2 * sizeof(*entry));
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = target.generic_fd();
    entry->cmd_op = NVME_URING_CMD_IO;
    entry->user_data = slot;
    std::memcpy(entry->cmd, &passed, sizeof(passed));
  }

  Ring ring_;
  AlignedBuffer lists_;
  const CopyCommand* in_flight_[kQueueDepthMax] = {};
  Time sent_at_[kQueueDepthMax] = {};
};

CopyLimits SmallestLimits(const std::vector<NvmeNamespace>& namespaces) {
  CopyLimits smallest = LimitsOf(namespaces[0].facts());
  for (const NvmeNamespace& each : namespaces) {
    const CopyLimits limits = LimitsOf(each.facts());
    smallest.alignment_bytes = std::max(smallest.alignment_bytes, limits.alignment_bytes);
    smallest.segment_bytes_max =
        std::min(smallest.segment_bytes_max, limits.segment_bytes_max);
    smallest.command_bytes_max =
        std::min(smallest.command_bytes_max, limits.command_bytes_max);
    smallest.segments_max = std::min(smallest.segments_max, limits.segments_max);
  }
  return smallest;
}

class NvmeRunner : public CommandRunner {
 public:
  explicit NvmeRunner(std::vector<NvmeNamespace> namespaces)
      : namespaces_(std::move(namespaces)), limits_(SmallestLimits(namespaces_)) {}
  const CopyLimits& limits() const override { return limits_; }

 protected:
  const std::vector<NvmeNamespace> namespaces_;
  const CopyLimits limits_;
};

class UringRunner final : public NvmeRunner {
 public:
  using NvmeRunner::NvmeRunner;

  std::string description() const override { return "NVMe Copy by io_uring passthrough"; }

  // Takes a first session, so that a kernel that refuses is found at once.
  Status Prepare() {
    TRY_ASSIGN(auto session, Take());
    Return(std::move(session));
    return OkStatus();
  }

  Outcome Run(const CopyPlan& plan, const CopyTask& task,
              CopyProgress& progress) override {
    auto session = Take();
    if (!session.ok())
      return {.stop = CopyStop::kWayFailed, .command_count = 0, .error = session.error()};
    Commands commands(plan, task, progress);
    (*session)->Run(namespaces_, task.depth, commands);
    Return(*std::move(session));
    return commands.TakeOutcome();
  }

 private:
  Result<std::unique_ptr<Session>> Take() {
    {
      const MutexLock lock(mutex_);
      if (!idle_.empty()) {
        auto session = std::move(idle_.back());
        idle_.pop_back();
        return session;
      }
    }
    return Session::Create();
  }
  void Return(std::unique_ptr<Session> session) {
    const MutexLock lock(mutex_);
    idle_.push_back(std::move(session));
  }

  Mutex mutex_;
  std::vector<std::unique_ptr<Session>> idle_ GUARDED_BY(mutex_);
};

class IoctlRunner final : public NvmeRunner {
 public:
  using NvmeRunner::NvmeRunner;

  std::string description() const override { return "NVMe Copy by ioctl"; }

  Outcome Run(const CopyPlan& plan, const CopyTask& task,
              CopyProgress& progress) override {
    AlignedBuffer list(kNvmeCopyListBytesMax);
    Commands commands(plan, task, progress);
    while (const CopyCommand* command = commands.Next()) {
      const NvmeNamespace& target = namespaces_[command->leaf];
      const NvmeCopyWords words = EncodeNvmeCopy(*command, target.facts(), list.span());
      uint32_t word0 = 0;
      const Time sent_at = std::chrono::steady_clock::now();
      const int result = nvme_io_passthru(
          target.block_fd(), kNvmeCopyOpcode, 0, 0, target.facts().nsid, 0, 0,
          words.cdw10, words.cdw11, words.cdw12, 0, 0, 0, words.list_bytes, list.data(),
          0, nullptr, NVME_DEFAULT_IOCTL_TIMEOUT, &word0);
      commands.End(*command, result < 0 ? -errno : result, word0, sent_at);
    }
    return commands.TakeOutcome();
  }
};

}  // namespace

Result<std::unique_ptr<CommandRunner>> OpenNvmeRunner(const DeviceStack& stack,
                                                      NvmeTransport transport) {
  std::vector<NvmeNamespace> namespaces;
  for (const StackLeaf& leaf : stack.leaves) {
    TRY_ASSIGN(auto opened, NvmeNamespace::Open(leaf));
    if (transport == NvmeTransport::kUring && opened.generic_fd() < 0)
      return Error(ErrorCode::kNotSupported, opened.no_generic_reason());
    namespaces.push_back(std::move(opened));
  }
  if (transport == NvmeTransport::kIoctl)
    return std::unique_ptr<CommandRunner>(new IoctlRunner(std::move(namespaces)));
  auto runner = std::make_unique<UringRunner>(std::move(namespaces));
  TRY(runner->Prepare());
  return std::unique_ptr<CommandRunner>(std::move(runner));
}

}  // namespace cofs
