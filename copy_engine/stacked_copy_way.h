// StackedCopyWay: a way of copying by commands to the drives below a block device.
//
// What is common to all kinds of drives lives here: resolving the stack, planning, and
// making sure that the plan was true from before the first command was sent until
// after the last one completed. The commands themselves are a CommandRunner's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/result.h"
#include "copy_engine/copy_way.h"
#include "copy_engine/device_stack.h"
#include "copy_engine/planner.h"

namespace cofs {

// Sends commands to the opened leaves of one stack. Thread-safe.
class CommandRunner {
 public:
  struct Outcome {
    CopyStop stop = CopyStop::kDone;
    uint64_t command_count = 0;  // sent
    std::optional<Error> error;  // for kWayFailed and kCopyFailed
  };

  virtual ~CommandRunner() = default;
  virtual const CopyLimits& limits() const = 0;
  // For people: "NVMe Copy by io_uring on ng0n1".
  virtual std::string description() const = 0;
  // Sends the plan's commands in their order, until one fails or the task is
  // interrupted; returns when all that were sent have completed, with what they
  // have copied added to `progress`.
  virtual Outcome Run(const CopyPlan& plan, const CopyTask& task,
                      CopyProgress& progress) = 0;
};

using OpenRunner =
    std::function<Result<std::unique_ptr<CommandRunner>>(const DeviceStack& stack)>;

class StackedCopyWay final : public CopyWay {
 public:
  // `open_runner` is called now and each time the stack is found changed.
  static Result<std::unique_ptr<StackedCopyWay>> Open(CopyWayId id,
                                                      std::shared_ptr<StackSource> source,
                                                      BlockNumber device,
                                                      OpenRunner open_runner);

  CopyWayId id() const override { return id_; }
  const CopyLimits& limits() const override { return limits_; }
  // kCopyFailed with kRetry: the tables changed while the commands ran, or it is not
  // known whether a command still runs. The destination must be abandoned.
  CopyOutcome Run(const CopyTask& task) override;
  std::string description() const;

 private:
  // One resolved stack with its leaves open; replaced as a whole.
  struct State {
    DeviceStack stack;
    std::unique_ptr<CommandRunner> runner;
  };

  StackedCopyWay(CopyWayId id, std::shared_ptr<StackSource> source, BlockNumber device,
                 OpenRunner open_runner)
      : id_(id),
        source_(std::move(source)),
        device_(device),
        open_runner_(std::move(open_runner)) {}
  Result<std::shared_ptr<State>> OpenState() const;
  // The state that is true now.
  Result<std::shared_ptr<State>> CurrentState();

  const CopyWayId id_;
  const std::shared_ptr<StackSource> source_;
  const BlockNumber device_;
  const OpenRunner open_runner_;
  CopyLimits limits_;  // of the first state; constant after Open()

  mutable Mutex mutex_;
  std::shared_ptr<State> state_ GUARDED_BY(mutex_);
};

}  // namespace cofs
