// image_fuzz: damages real volumes and mounts, reads, uses, checks and repairs them.
//
//   image_fuzz                            a short run; the seed is printed
//   image_fuzz --seed S --images N        other images, more of them
//   image_fuzz --seed S --image K --keep DIR
//                                         image K again, in this process (for a debugger)
//   image_fuzz --keep DIR                 keeps the volumes it starts from, and what
//                                         failed, there; a run with the same DIR has the
//                                         same bytes to start from
//
// Each image has a process of its own: a crash is told with what was being done, and
// what takes longer than --limit seconds is a hang.
//
// Exit: 0 nothing was found; 1 something was; 2 usage.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>

#include "base/check.h"
#include "base/log.h"
#include "tests/image/image_damage.h"
#include "tests/image/image_judge.h"

namespace cofs {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  uint64_t seed = 1;
  uint64_t first = 0, count = 0;  // 0: until the time is over
  uint64_t seconds = 20;
  std::optional<uint64_t> image;
  unsigned jobs = 2;
  unsigned limit_s = 120;
  std::string keep, style = "all";
};

// What the processes share: sums, and what each is doing.
struct Shared {
  std::atomic<uint64_t> bits_flipped, blocks_changed, forged;
  std::atomic<uint64_t> found_by_fsck, mounted, repaired, not_repairable, files_read,
      read_errors;
  struct Slot {
    char stage[64];
    char words[400];
  } slots[64];
};

class Fuzzer {
 public:
  Fuzzer(const Arguments& arguments, std::string folder)
      : arguments_(arguments), folder_(std::move(folder)) {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    shared_ = new (memory) Shared{};
  }

  int Run() {
    for (int i = 0; i < kBaseCount; ++i) {
      if (!std::filesystem::exists(BasePath(i) + ".txt"))
        CHECK(InChild([&] {
                SetLogLevel(LogLevel::kWarning);
                SaveBase(MakeBase(i), BasePath(i));
              }) == 0,
              "making a volume");
      bases_.push_back(LoadBase(BasePath(i)));
    }
    if (arguments_.image) return RunOne(*arguments_.image, shared_->slots[0]) ? 0 : 1;
    RunMany();
    std::cout << "--seed " << arguments_.seed << ": " << done_ << " images; "
              << shared_->bits_flipped << " bits flipped, " << shared_->blocks_changed
              << " blocks overwritten, " << shared_->forged << " forgeries; "
              << shared_->mounted << " mounted, " << shared_->found_by_fsck
              << " found by fsck, " << shared_->repaired << " repaired, "
              << shared_->not_repairable << " not repairable; " << shared_->files_read
              << " files read, " << shared_->read_errors << " errors; " << failed_
              << " failures\n";
    return failed_ == 0 ? 0 : 1;
  }

 private:
  struct Job {
    uint64_t image = 0;
    size_t slot = 0;
    Clock::time_point deadline;
    bool is_hung = false;
  };

  std::string BasePath(int index) const { return StrCat(folder_, "/base-", index); }

  static int InChild(const std::function<void()>& body) {
    std::cout.flush();
    const pid_t child = ::fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
      body();
      std::cout.flush();
      ::_exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }

  const BaseVolume& BaseOf(uint64_t image) const { return bases_[image % bases_.size()]; }

  DamageResult Damage(uint64_t image, MemoryDevice& device) const {
    std::mt19937_64 random(arguments_.seed * 0x9e3779b97f4a7c15 + image);
    const bool forged =
        arguments_.style == "forged" || (arguments_.style == "all" && random() % 2 == 0);
    return DamageImage(device, BaseOf(image),
                       forged ? DamageStyle::kForged : DamageStyle::kRandom, random);
  }

  bool RunOne(uint64_t image, Shared::Slot& slot) {
    std::strcpy(slot.stage, "damage");
    const auto device = BaseOf(image).device->Fork();
    const DamageResult damage = Damage(image, *device);
    const size_t length = std::min(damage.words.size(), sizeof(slot.words) - 1);
    std::memcpy(slot.words, damage.words.data(), length);
    slot.words[length] = 0;
    ImageJudge judge(BaseOf(image).facts, damage.is_forged, [&](const char* stage) {
      std::strncpy(slot.stage, stage, sizeof(slot.stage) - 1);
      if (arguments_.image) std::cout << "-- " << stage << std::endl;
    });
    if (arguments_.image) std::cout << damage.words << std::endl;
    judge.Judge(*device);
    shared_->bits_flipped += damage.counts.bits_flipped;
    shared_->blocks_changed += damage.counts.blocks_changed;
    shared_->forged += damage.counts.forged;
    const JudgeCounts& counts = judge.counts();
    shared_->found_by_fsck += counts.found_by_fsck;
    shared_->mounted += counts.mounted;
    shared_->repaired += counts.repaired;
    shared_->not_repairable += counts.not_repairable;
    shared_->files_read += counts.files_read;
    shared_->read_errors += counts.read_errors;
    std::string text;
    for (size_t i = 0; i < std::min<size_t>(judge.complaints().size(), 8); ++i)
      text += "  " + Printable(judge.complaints()[i]) + "\n";
    if (!text.empty()) std::cout << Title(image) << "\n" << text << std::flush;
    return text.empty();
  }

  std::string Title(uint64_t image) const {
    return StrCat("FAILED: --seed ", arguments_.seed, " --image ", image, " --style ",
                  arguments_.style);
  }

  void Start(uint64_t image, size_t slot) {
    Shared::Slot& place = shared_->slots[slot];
    place = {};
    std::cout.flush();
    const pid_t child = ::fork();
    CHECK(child >= 0, "fork");
    if (child == 0) {
      SetLogSink([](LogLevel, std::string_view) {});
      const bool is_good = RunOne(image, place);
      std::cout.flush();
      ::_exit(is_good ? 0 : 1);
    }
    jobs_[child] = {image, slot, Clock::now() + std::chrono::seconds(arguments_.limit_s),
                    false};
  }

  void Ended(const Job& job, int status) {
    ++done_;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    ++failed_;
    const Shared::Slot& slot = shared_->slots[job.slot];
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
      std::cout << Title(job.image) << "\n  "
                << (job.is_hung ? std::string("hangs")
                    : WIFSIGNALED(status)
                        ? std::string("ended by ") + ::strsignal(WTERMSIG(status))
                        : StrCat("exit code ", WEXITSTATUS(status)))
                << " during: " << slot.stage << "\n";
    std::cout << "  damage: " << Printable(slot.words) << "\n" << std::flush;
    if (arguments_.keep.empty()) return;
    const std::string path =
        StrCat(folder_, "/failed-", arguments_.seed, "-", job.image, ".img");
    InChild([&] {
      const auto device = BaseOf(job.image).device->Fork();
      Damage(job.image, *device);
      SaveImage(*device, path);
    });
    std::cout << "  image: " << path << std::endl;
  }

  void RunMany() {
    sigset_t signals;
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
    std::vector<size_t> free_slots;
    for (size_t i = 0; i < std::clamp<size_t>(arguments_.jobs, 1, 64); ++i)
      free_slots.push_back(i);
    const auto end = Clock::now() + std::chrono::seconds(arguments_.seconds);
    uint64_t next = arguments_.first;
    const auto wants_more = [&] {
      return arguments_.count != 0 ? next < arguments_.first + arguments_.count
                                   : Clock::now() < end;
    };
    while (!jobs_.empty() || wants_more()) {
      while (!free_slots.empty() && wants_more()) {
        Start(next++, free_slots.back());
        free_slots.pop_back();
      }
      const timespec second{1, 0};
      ::sigtimedwait(&signals, nullptr, &second);
      int status = 0;
      for (pid_t child; (child = ::waitpid(-1, &status, WNOHANG)) > 0;) {
        const auto job = jobs_.find(child);
        CHECK(job != jobs_.end());
        Ended(job->second, status);
        free_slots.push_back(job->second.slot);
        jobs_.erase(job);
      }
      for (auto& [child, job] : jobs_) {
        if (job.is_hung || Clock::now() < job.deadline) continue;
        job.is_hung = true;
        ::kill(child, SIGKILL);
      }
    }
  }

  const Arguments arguments_;
  const std::string folder_;
  Shared* shared_ = nullptr;
  std::vector<BaseVolume> bases_;
  std::map<pid_t, Job> jobs_;
  uint64_t done_ = 0, failed_ = 0;
};

int Main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Damages volumes, then mounts, reads, checks and repairs them",
               "image_fuzz");
  app.add_option("--seed", arguments.seed, "chooses the damage");
  app.add_option("--images", arguments.count, "so many images instead of for some time");
  app.add_option("--seconds", arguments.seconds, "start images for so long");
  app.add_option("--first", arguments.first, "number of the first image");
  app.add_option("--image", arguments.image,
                 "only this one, in this process, with the log");
  app.add_option("--jobs", arguments.jobs, "processes at once");
  app.add_option("--limit", arguments.limit_s, "seconds until an image counts as hung");
  app.add_option("--keep", arguments.keep, "folder for volumes and failures");
  app.add_option("--style", arguments.style, "random, forged or all")
      ->check(CLI::IsMember({"random", "forged", "all"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const char* is_long = std::getenv("COFS_LONG");
      is_long != nullptr && *is_long == '1' && arguments.count == 0)
    arguments.count = 5000;
  namespace filesystem = std::filesystem;
  std::string folder = arguments.keep;
  if (folder.empty()) {
    folder = (filesystem::temp_directory_path() / "cofs-image-fuzz-XXXXXX").string();
    CHECK(::mkdtemp(folder.data()) != nullptr, folder);
  } else {
    filesystem::create_directories(folder);
  }
  const int exit_code = Fuzzer(arguments, folder).Run();
  if (arguments.keep.empty()) filesystem::remove_all(folder);
  return exit_code;
}

}  // namespace
}  // namespace cofs

int main(int argc, char** argv) { return cofs::Main(argc, argv); }
