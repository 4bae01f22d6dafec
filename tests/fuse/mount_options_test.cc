#include "fs/fuse/mount_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace cofs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<MountOptions> Parse(const std::string& list) {
  return ParseMountArguments({"/dev/vda", "/mnt", "-o", list});
}

struct ValidCase {
  const char* list;
  std::function<bool(const MountOptions&)> expected;
};

TEST(MountOptionsTest, ValidOptions) {
  const ValidCase kCases[] = {
      {"", [](const MountOptions& o) {
         return o.writeback_cache && !o.volume.read_only && o.kernel_flags == 0 &&
                o.volume.commit_interval_ms == 5000 && o.thread_count == 0;
       }},
      {"ro", [](const MountOptions& o) {
         return o.volume.read_only && o.kernel_flags == MS_RDONLY;
       }},
      {"ro,rw", [](const MountOptions& o) {
         return !o.volume.read_only && o.kernel_flags == 0;
       }},
      {"ro,discard", [](const MountOptions& o) { return !o.volume.discard; }},
      {"discard", [](const MountOptions& o) { return o.volume.discard; }},
      {"noatime", [](const MountOptions& o) {
         return o.volume.atime == AtimePolicy::kNone && o.kernel_flags == MS_NOATIME;
       }},
      {"noatime,relatime", [](const MountOptions& o) {
         return o.volume.atime == AtimePolicy::kRelative && o.kernel_flags == 0;
       }},
      {"strictatime", [](const MountOptions& o) {
         return o.volume.atime == AtimePolicy::kStrict;
       }},
      {"nodev,nosuid,noexec", [](const MountOptions& o) {
         return o.kernel_flags == (MS_NODEV | MS_NOSUID | MS_NOEXEC);
       }},
      {"user,exec", [](const MountOptions& o) {
         return o.kernel_flags == (MS_NODEV | MS_NOSUID);
       }},
      {"nodev,dev,nosuid,suid", [](const MountOptions& o) { return o.kernel_flags == 0; }},
      {"sync", [](const MountOptions& o) { return o.volume.sync && !o.writeback_cache; }},
      {"nowriteback_cache", [](const MountOptions& o) { return !o.writeback_cache; }},
      {"nowriteback_cache,writeback_cache", [](const MountOptions& o) {
         return o.writeback_cache;
       }},
      {"copy=share", [](const MountOptions& o) {
         return o.volume.copy == CopyRangePolicy::kShare;
       }},
      {"copy=device", [](const MountOptions& o) {
         return o.volume.copy == CopyRangePolicy::kDevice;
       }},
      {"copy=buffered", [](const MountOptions& o) {
         return o.volume.copy == CopyRangePolicy::kBuffered;
       }},
      {"cache=1G", [](const MountOptions& o) { return o.volume.cache_bytes == 1ull << 30; }},
      {"cache=128MiB", [](const MountOptions& o) {
         return o.volume.cache_bytes == 128ull << 20;
       }},
      {"commit=30", [](const MountOptions& o) {
         return o.volume.commit_interval_ms == 30000;
       }},
      {"", [](const MountOptions& o) {
         return !o.mmp.has_value() && o.volume.stall_report_ms == 30000;
       }},
      {"mmp", [](const MountOptions& o) { return o.mmp == true; }},
      {"mmp,nommp", [](const MountOptions& o) { return o.mmp == false; }},
      {"stall_report=5", [](const MountOptions& o) {
         return o.volume.stall_report_ms == 5000;
       }},
      {"stall_report=0", [](const MountOptions& o) {
         return o.volume.stall_report_ms == 0;
       }},
      {"threads=16", [](const MountOptions& o) { return o.thread_count == 16; }},
      {"log=/var/log/cofs", [](const MountOptions& o) {
         return o.log_file == "/var/log/cofs";
       }},
      {"max_read=65536", [](const MountOptions& o) {
         return o.kernel_options == std::vector<std::string>{"max_read=65536"};
       }},
      {"remount,ro,user_id=0,group_id=0,default_permissions,allow_other,blksize=4096",
       [](const MountOptions& o) { return o.remount; }},
      // What mount(8) and fstab lines bring along.
      {"defaults,x-systemd.automount,_netdev,nofail,noauto,X-mount.mkdir,comment=a",
       [](const MountOptions& o) { return o.kernel_flags == 0; }},
      {",,rw,,", [](const MountOptions& o) { return !o.volume.read_only; }},
      {"x-note=a\\,b,ro", [](const MountOptions& o) { return o.volume.read_only; }},
  };
  for (const ValidCase& c : kCases) {
    const Result<MountOptions> options = Parse(c.list);
    ASSERT_TRUE(options.ok()) << c.list << ": " << options.error().ToString();
    EXPECT_TRUE(c.expected(*options)) << c.list;
    EXPECT_EQ(options->source, "/dev/vda");
    EXPECT_EQ(options->directory, "/mnt");
  }
}

TEST(MountOptionsTest, ContextKeepsItsCommas) {
  const Result<MountOptions> options =
      Parse(R"(ro,context="system_u:object_r:tmp_t:s0:c127,c456",noexec)");
  ASSERT_TRUE(options.ok());
  EXPECT_THAT(options->kernel_options,
              ElementsAre(R"(context="system_u:object_r:tmp_t:s0:c127,c456")"));
  EXPECT_EQ(options->kernel_flags, static_cast<unsigned long>(MS_RDONLY | MS_NOEXEC));
}

struct ErrorCase {
  const char* list;
  const char* sentence;
};

TEST(MountOptionsTest, RefusedOptions) {
  const ErrorCase kCases[] = {
      {"frobnicate", "option 'frobnicate' is not known"},
      {"ro,frobnicate=3,rw", "option 'frobnicate=3' is not known"},
      {"ro=1", "option 'ro=1' is not known"},
      {"copy", "option 'copy' needs a value"},
      {"copy=magic", "'magic' is not one of auto, share, device, buffered"},
      {"cache=", "'' is not a size"},
      {"cache=lots", "'lots' is not a size"},
      {"cache=1K", "'1K' is not a size from 4M to 1T"},
      {"cache=99999999999G", "is not a size"},
      {"cache=-1M", "is not a size"},
      {"cache=64MB", "is not a size"},
      {"commit=0", "'0' is not a number from 1 to 300"},
      {"commit=301", "'301' is not a number"},
      {"commit=5s", "'5s' is not a number"},
      {"stall_report=3601", "'3601' is not a number from 0 to 3600"},
      {"stall_report", "option 'stall_report' needs a value"},
      {"mmp=1", "option 'mmp=1' is not known"},
      {"threads=1", "'1' is not a number from 2 to 512"},
      {"threads=", "'' is not a number"},
      {"threads= 4", "is not a number"},
      {"max_read=12", "'12' is not a number"},
      {"log=", "is not a file name"},
  };
  for (const ErrorCase& c : kCases) {
    const Result<MountOptions> options = Parse(c.list);
    ASSERT_FALSE(options.ok()) << c.list;
    EXPECT_EQ(options.error().code(), ErrorCode::kInvalidArgument) << c.list;
    EXPECT_THAT(options.error().context(), HasSubstr(c.sentence)) << c.list;
  }
}

TEST(MountOptionsTest, SloppyLeavesOutWhatItDoesNotKnow) {
  const Result<MountOptions> options =
      ParseMountArguments({"/dev/vda", "/mnt", "-s", "-o", "ro,frobnicate"});
  ASSERT_TRUE(options.ok());
  EXPECT_TRUE(options->volume.read_only);
  EXPECT_THAT(options->warnings, ElementsAre(HasSubstr("frobnicate")));
  // A known option with a bad value is a mistake all the same.
  EXPECT_FALSE(ParseMountArguments({"/dev/vda", "/mnt", "-s", "-o", "commit=0"}).ok());
}

TEST(MountOptionsTest, ArgumentsAsMountPassesThem) {
  const std::vector<std::vector<std::string>> kSame = {
      {"/dev/vda", "/mnt", "-n", "-v", "-o", "ro,noatime", "-t", "fuseblk.cofs"},
      {"-nv", "-o", "ro", "-o", "noatime", "/dev/vda", "/mnt"},
      {"-nvoro,noatime", "/dev/vda", "-tcofs", "/mnt"},
      {"-v", "-oro,noatime", "--", "/dev/vda", "/mnt"},
  };
  for (const auto& arguments : kSame) {
    const Result<MountOptions> options = ParseMountArguments(arguments);
    ASSERT_TRUE(options.ok()) << options.error().ToString();
    EXPECT_EQ(options->source, "/dev/vda");
    EXPECT_EQ(options->directory, "/mnt");
    EXPECT_TRUE(options->verbose);
    EXPECT_TRUE(options->volume.read_only);
    EXPECT_EQ(options->kernel_flags, static_cast<unsigned long>(MS_RDONLY | MS_NOATIME));
  }
  EXPECT_TRUE(ParseMountArguments({"-f", "a", "b"})->foreground);
  EXPECT_EQ(ParseMountArguments({"-V"})->action, MountOptions::Action::kShowVersion);
  EXPECT_EQ(ParseMountArguments({"a", "--help"})->action, MountOptions::Action::kShowHelp);
}

TEST(MountOptionsTest, RefusedArguments) {
  const std::vector<std::vector<std::string>> kCases = {
      {}, {"/dev/vda"}, {"/dev/vda", "/mnt", "more"}, {"-q", "/dev/vda", "/mnt"},
      {"/dev/vda", "/mnt", "-o"}, {"/dev/vda", "/mnt", "-N", "ns"},
  };
  for (const auto& arguments : kCases)
    EXPECT_FALSE(ParseMountArguments(arguments).ok()) << testing::PrintToString(arguments);
}

}  // namespace
}  // namespace cofs
