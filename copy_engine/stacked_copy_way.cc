#include "copy_engine/stacked_copy_way.h"

namespace cofs {
namespace {

CopyOutcome Stopped(CopyStop stop, Error error) {
  CopyOutcome outcome;
  outcome.stop = stop;
  outcome.error = std::move(error);
  return outcome;
}

}  // namespace

Result<std::unique_ptr<StackedCopyWay>> StackedCopyWay::Open(
    CopyWayId id, std::shared_ptr<StackSource> source, BlockNumber device,
    OpenRunner open_runner) {
  std::unique_ptr<StackedCopyWay> way(
      new StackedCopyWay(id, std::move(source), device, std::move(open_runner)));
  TRY_ASSIGN(const std::shared_ptr<State> state, way->OpenState());
  way->limits_ = state->runner->limits();
  const MutexLock lock(way->mutex_);
  way->state_ = state;
  return way;
}

Result<std::shared_ptr<StackedCopyWay::State>> StackedCopyWay::OpenState() const {
  auto state = std::make_shared<State>();
  TRY_ASSIGN(state->stack, ResolveStack(*source_, device_));
  TRY_ASSIGN(state->runner, open_runner_(state->stack));
  return state;
}

Result<std::shared_ptr<StackedCopyWay::State>> StackedCopyWay::CurrentState() {
  std::shared_ptr<State> state;
  {
    const MutexLock lock(mutex_);
    state = state_;
  }
  TRY_ASSIGN(const std::string generation, ReadGeneration(*source_, state->stack));
  if (generation == state->stack.generation) return state;
  TRY_ASSIGN(state, OpenState());
  const MutexLock lock(mutex_);
  state_ = state;
  return state;
}

CopyOutcome StackedCopyWay::Run(const CopyTask& task) {
  auto current = CurrentState();
  if (!current.ok())
    return Stopped(
        current.Is(ErrorCode::kRetry) ? CopyStop::kNotApplicable : CopyStop::kWayFailed,
        current.error());
  const State& state = **current;
  auto plan = PlanCopy(task.pieces, state.runner->limits(), state.stack.map);
  if (!plan.ok()) return Stopped(CopyStop::kNotApplicable, plan.error());
  if (plan->planned_bytes == 0) return Stopped(CopyStop::kNotApplicable, *plan->obstacle);

  CopyProgress progress;
  CommandRunner::Outcome run = state.runner->Run(*plan, task, progress);
  CopyOutcome outcome;
  outcome.stop = run.stop;
  outcome.command_count = run.command_count;
  outcome.error = std::move(run.error);
  if (outcome.stop == CopyStop::kCopyFailed) return outcome;

  const auto generation = ReadGeneration(*source_, state.stack);
  if (run.command_count > 0 &&
      (!generation.ok() || *generation != state.stack.generation)) {
    outcome.stop = CopyStop::kCopyFailed;
    outcome.error =
        Error(ErrorCode::kRetry, "what lies below " + state.stack.description +
                                     ", during a copy by the device");
    return outcome;
  }
  outcome.completed_bytes = progress.PrefixBytes();
  if (outcome.stop == CopyStop::kDone && plan->obstacle) {
    outcome.stop = CopyStop::kNotApplicable;
    outcome.error = *plan->obstacle;
  }
  return outcome;
}

std::string StackedCopyWay::description() const {
  const MutexLock lock(mutex_);
  return state_->runner->description() + " for " + state_->stack.description;
}

}  // namespace cofs
