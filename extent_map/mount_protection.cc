#include "extent_map/mount_protection.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "base/log.h"

namespace cofs {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPollPause{100};
constexpr milliseconds kMargin{1000};
// Of a heartbeat whose own is not readable.
constexpr milliseconds kUnknownInterval{2000};

Result<std::string> ReadBlock(BlockDevice& device) {
  AlignedBuffer buffer(kBlockBytes);
  TRY(device.Read(kHeartbeatOffset, buffer.span()));
  return std::string(buffer.data(), kBlockBytes);
}

Status WriteBlock(BlockDevice& device, const std::string& block, bool durably) {
  AlignedBuffer buffer(kBlockBytes);
  std::memcpy(buffer.data(), block.data(), kBlockBytes);
  return device.Write(kHeartbeatOffset, buffer.span(), durably);
}

std::string FirstLineOf(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// When a process was started, in ticks since boot: field 22 of /proc/PID/stat. 0: it does
// not run.
uint64_t StartOf(const std::string& pid) {
  const std::string stat = FirstLineOf(StrCat("/proc/", pid, "/stat").c_str());
  // The name before may hold anything, parentheses too.
  const size_t end = stat.rfind(')');
  if (end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(end + 1));
  std::string state, skipped;
  fields >> state;
  if (state == "Z" || state == "X") return 0;
  for (int field = 4; field <= 21; ++field) fields >> skipped;
  uint64_t start = 0;
  fields >> start;
  return start;
}

uint64_t OwnPidNamespace() {
  struct stat st = {};
  return ::stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

Uuid OwnBoot() {
  return Uuid::Parse(FirstLineOf("/proc/sys/kernel/random/boot_id")).value_or(Uuid{});
}

// Whether it was left on this host, since it was booted, by a process that is gone.
bool IsOfGoneProcess(const Heartbeat& heartbeat) {
  if (heartbeat.boot == Uuid{} || heartbeat.boot != OwnBoot()) return false;
  if (heartbeat.pid == 0 || heartbeat.pid_namespace == 0 ||
      heartbeat.pid_namespace != OwnPidNamespace())
    return false;
  return StartOf(std::to_string(heartbeat.pid)) != heartbeat.pid_start;
}

std::string TimeText(int64_t seconds) {
  const auto time = static_cast<time_t>(seconds);
  tm parts{};
  char text[32] = "?";
  if (::localtime_r(&time, &parts) != nullptr)
    std::strftime(text, sizeof(text), "%F %T", &parts);
  return text;
}

// "host alpha (mounted from /dev/sda1, process 12, last seen 2026-01-02 03:04:05)"
std::string WhoIs(const Result<Heartbeat>& heartbeat) {
  if (!heartbeat.ok()) return "somebody whose heartbeat is not readable";
  return StrCat("host ", Printable(heartbeat->host),
                heartbeat->state == HeartbeatState::kRepaired ? " (fsck.cofs of "
                                                              : " (mounted from ",
                Printable(heartbeat->device), ", process ", heartbeat->pid,
                ", heartbeat of ", TimeText(heartbeat->written_s), ")");
}

// How long a heartbeat that moves can seem not to.
milliseconds WatchTime(const Result<Heartbeat>& heartbeat) {
  const milliseconds interval =
      heartbeat.ok() ? milliseconds(heartbeat->interval_ms) : kUnknownInterval;
  return 2 * interval + std::min(kMargin, 5 * interval);
}

// Waits for `time` in small steps; false when cancelled.
bool Sleep(milliseconds time, const IsCancelled& is_cancelled) {
  const auto end = Clock::now() + time;
  for (auto now = Clock::now(); now < end; now = Clock::now()) {
    if (is_cancelled && is_cancelled()) return false;
    std::this_thread::sleep_for(
        std::min<Clock::duration>(end - now, kPollPause));
  }
  return true;
}

Error InUse(const Result<Heartbeat>& heartbeat) {
  return Error(ErrorCode::kBusy, "the volume is in use by " + WhoIs(heartbeat));
}

// Step 1. The heartbeat that was found, as a block; nobody holds it.
Result<std::string> FindNobody(BlockDevice& device, const IsCancelled& is_cancelled) {
  TRY_ASSIGN(const std::string block, ReadBlock(device));
  const auto found = DecodeHeartbeat(block);
  if (found.Is(ErrorCode::kNotFound)) return block;
  if (found.ok() && found->state == HeartbeatState::kEnded) return block;
  if (found.ok() && IsOfGoneProcess(*found)) {
    LogInfo(StrCat("the volume was not unmounted by process ", found->pid,
                   " of this host, which is gone"));
    return block;
  }
  const milliseconds time = WatchTime(found);
  LogWarning(StrCat("the volume may be in use by ", WhoIs(found), ": waiting up to ",
                    (time.count() + 999) / 1000, " s for its heartbeat"));
  const auto end = Clock::now() + time;
  while (Clock::now() < end) {
    if (!Sleep(std::min<milliseconds>(kPollPause, time / 4), is_cancelled))
      return Error(ErrorCode::kInterrupted, "waiting for a heartbeat");
    TRY_ASSIGN(const std::string now, ReadBlock(device));
    if (now == block) continue;
    const auto moved = DecodeHeartbeat(now);
    // Its holder has just let go of it.
    if (moved.ok() && moved->state == HeartbeatState::kEnded) return now;
    return InUse(moved);
  }
  LogWarning("it does not beat any more: it was left by a crash");
  return block;
}

}  // namespace

Status CheckHeartbeat(BlockDevice& device, LeftHeartbeat left,
                      const IsCancelled& is_cancelled) {
  if (device.geometry().size_bytes < kHeartbeatOffset.value() + kBlockBytes)
    return OkStatus();
  TRY_ASSIGN(const std::string block, FindNobody(device, is_cancelled));
  auto found = DecodeHeartbeat(block);
  const bool was_left = found.ok() ? found->state != HeartbeatState::kEnded
                                   : found.Is(ErrorCode::kCorrupt);
  if (left == LeftHeartbeat::kKeep || !was_left) return OkStatus();
  Heartbeat ended;
  ended.interval_ms = static_cast<uint32_t>(kUnknownInterval.count());
  if (found.ok()) ended = std::move(*found);
  ended.state = HeartbeatState::kEnded;
  return WriteBlock(device, EncodeHeartbeat(ended), /*durably=*/true);
}

HeartbeatWriter::HeartbeatWriter(BlockDevice& device, Options options)
    : device_(device), options_(std::move(options)) {
  heartbeat_.volume = options_.volume;
  heartbeat_.holder = Uuid::Random();
  heartbeat_.interval_ms = static_cast<uint32_t>(options_.interval.count());
  heartbeat_.boot = OwnBoot();
  heartbeat_.pid_namespace = OwnPidNamespace();
  heartbeat_.pid_start = StartOf("self");
  heartbeat_.pid = static_cast<uint32_t>(::getpid());
  char host[256] = "";
  if (::gethostname(host, sizeof(host) - 1) == 0) heartbeat_.host = host;
  heartbeat_.device = device.geometry().path;
}

Result<std::unique_ptr<HeartbeatWriter>> HeartbeatWriter::Claim(BlockDevice& device,
                                                                Options options) {
  std::unique_ptr<HeartbeatWriter> writer(new HeartbeatWriter(device, std::move(options)));
  const auto is_cancelled = writer->options_.is_cancelled;
  TRY_ASSIGN(const std::string seen, FindNobody(device, is_cancelled));
  // Not at the end of a long wait: what was seen must be fresh when it is written over.
  const auto seen_at = Clock::now();
  TRY_ASSIGN(const std::string again, ReadBlock(device));
  if (again != seen) return InUse(DecodeHeartbeat(again));
  TRY(writer->Write(writer->options_.state));
  const bool was_slow = Clock::now() - seen_at > writer->options_.settle / 2;
  const milliseconds settle = was_slow ? WatchTime(writer->heartbeat_)
                                       : writer->options_.settle;
  if (!Sleep(settle, is_cancelled))
    return Error(ErrorCode::kInterrupted, "waiting for other hosts");
  TRY_ASSIGN(const bool is_own, writer->IsOwn());
  if (!is_own) {
    TRY_ASSIGN(const std::string other, ReadBlock(device));
    return InUse(DecodeHeartbeat(other));
  }
  writer->thread_ = std::thread([raw = writer.get()] { raw->Loop(); });
  return writer;
}

HeartbeatWriter::~HeartbeatWriter() { StopThread(); }

void HeartbeatWriter::StopThread() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(mutex_);
    is_stopping_ = true;
    wake_.NotifyAll();
  }
  thread_.join();
}

Status HeartbeatWriter::End() {
  StopThread();
  if (is_lost_) return OkStatus();
  TRY_ASSIGN(const bool is_own, IsOwn());
  if (!is_own) return OkStatus();
  return Write(HeartbeatState::kEnded);
}

Result<bool> HeartbeatWriter::IsOwn() {
  TRY_ASSIGN(const std::string block, ReadBlock(device_));
  const auto found = DecodeHeartbeat(block);
  if (found.ok()) return found->holder == heartbeat_.holder;
  // A beat that failed may have left half a block.
  return has_failed_ && found.Is(ErrorCode::kCorrupt);
}

Status HeartbeatWriter::Write(HeartbeatState state) {
  heartbeat_.state = state;
  ++heartbeat_.sequence;
  heartbeat_.written_s = ::time(nullptr);
  // Others read what the device holds, in its cache too; behind a page cache they don't.
  const bool durably = !device_.geometry().is_direct || state == HeartbeatState::kEnded;
  return WriteBlock(device_, EncodeHeartbeat(heartbeat_), durably);
}

bool HeartbeatWriter::Beat() {
  const auto is_own = IsOwn();
  if (is_own.ok() && !*is_own) {
    is_lost_ = true;
    const auto block = ReadBlock(device_);
    const auto other = block.ok() ? DecodeHeartbeat(*block) : Result<Heartbeat>(block.error());
    const Error error(ErrorCode::kBusy, "another one has taken the volume, and may write to "
                                        "it: " + WhoIs(other));
    if (options_.on_lost) options_.on_lost(error);
    return false;
  }
  Status status = is_own.ok() ? Write(options_.state) : Status(is_own.error());
  if (!status.ok() && !has_failed_)
    LogWarning(StrCat("the heartbeat was not written: ", status.error().ToString()));
  has_failed_ = !status.ok();
  return true;
}

void HeartbeatWriter::Loop() {
  MutexLock lock(mutex_);
  while (!is_stopping_) {
    const auto next = Clock::now() + options_.interval;
    for (auto now = Clock::now(); !is_stopping_ && now < next; now = Clock::now())
      wake_.WaitFor(mutex_, std::chrono::ceil<milliseconds>(next - now));
    if (is_stopping_) return;
    lock.Unlock();
    const bool goes_on = Beat();
    lock.Lock();
    if (!goes_on) return;
  }
}

}  // namespace cofs
