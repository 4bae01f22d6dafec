// fsck.cofs as a program: exit codes, modes, output.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "device/file_device.h"
#include "tests/fsck/test_volume.h"
#include "tests/mkfs/scratch_folder.h"
#include "tests/mount/subprocess.h"

namespace cofs {
namespace {

class FsckTest : public testing::Test {
 protected:
  static ProgramResult Fsck(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), Bin("fsck.cofs"));
    return RunProgram(arguments);
  }
  std::string SoundImage() {
    const std::string path = folder_.File("sound.img");
    TestVolume::WriteImageFile(TestVolume(), path);
    return path;
  }
  std::string DamagedImage() {
    const std::string path = folder_.File("damaged.img");
    TestVolume volume;
    volume.EditInode(kInodeDeep, [](InodeRecord& inode) { inode.link_count = 3; });
    volume.Flip(volume.Block(2) + 9);
    TestVolume::WriteImageFile(volume, path);
    return path;
  }
  ScratchFolder folder_;
};

TEST_F(FsckTest, ASoundVolumeGivesZero) {
  const std::string image = SoundImage();
  for (const char* mode : {"-n", "-p", "-a", "-y", "-f", "--data"}) {
    const ProgramResult result = Fsck({mode, image});
    EXPECT_EQ(result.exit_code, 0) << mode << result.out << result.err;
    EXPECT_NE(result.out.find("clean"), std::string::npos);
  }
}

TEST_F(FsckTest, ErrorsThatAreLeftGiveFour) {
  const std::string image = DamagedImage();
  const std::string line = "inode 22 (/a/b/deep): link count is 3, counted 1 [link-count]";
  // Without a mode it asks on a terminal, and here there is none.
  for (const char* mode : {"-n", "-f"}) {
    const ProgramResult result = Fsck({mode, image});
    EXPECT_EQ(result.exit_code, 4) << mode;
    EXPECT_NE(result.out.find(line), std::string::npos) << result.out;
    EXPECT_EQ(result.out.find("data-checksum"), std::string::npos);
  }
  EXPECT_NE(Fsck({image}).out.find("-y repairs"), std::string::npos);
  const ProgramResult data = Fsck({"-n", "--data", image});
  EXPECT_EQ(data.exit_code, 4);
  EXPECT_NE(data.out.find("(/f)"), std::string::npos) << data.out;
}

TEST_F(FsckTest, ARepairGivesOneAndThenZero) {
  for (const char* mode : {"-p", "-a", "-y"}) {
    const std::string image = DamagedImage();
    const ProgramResult result = Fsck({mode, image});
    EXPECT_EQ(result.exit_code, 1) << mode << result.out << result.err;
    EXPECT_NE(result.out.find("[link-count] repaired\n"), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("1 error repaired, clean"), std::string::npos) << result.out;
    EXPECT_EQ(Fsck({mode, image}).exit_code, 0);
    EXPECT_EQ(Fsck({"-n", image}).exit_code, 0);
    // What is repaired and what can't be add up.
    EXPECT_EQ(Fsck({mode, "--data", image}).exit_code, 4);
    ::unlink(image.c_str());
  }
  const std::string image = DamagedImage();
  EXPECT_EQ(Fsck({"-y", "--data", image}).exit_code, 5);
}

TEST_F(FsckTest, TheCatalogueCanBePrinted) {
  const ProgramResult result = Fsck({"--list-findings"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(static_cast<size_t>(std::count(result.out.begin(), result.out.end(), '\n')),
            kFindingKindCount);
  EXPECT_NE(result.out.find("unreachable              error  -y     an inode"),
            std::string::npos)
      << result.out;
}

TEST_F(FsckTest, WhatCannotBeCheckedGivesEight) {
  const std::string text = folder_.File("text");
  const Fd fd(::open(text.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::string words(8192, 'x');
  ASSERT_EQ(::write(fd.get(), words.data(), words.size()), ssize_t{8192});
  for (const std::string& path : {text, folder_.File("none"), folder_.File(".")}) {
    const ProgramResult result = Fsck({"-n", path});
    EXPECT_EQ(result.exit_code, 8) << path;
    EXPECT_NE(result.err, "");
  }
  EXPECT_NE(Fsck({"-n", text}).err.find("not a cofs volume"), std::string::npos);
}

TEST_F(FsckTest, AVolumeInUseIsRefusedAfterAWait) {
  const std::string image = SoundImage();
  const auto held = FileDevice::Open(image, OpenMode::kReadWrite);
  ASSERT_TRUE(held.ok());
  const ProgramResult result = Fsck({"-n", image});
  EXPECT_EQ(result.exit_code, 8);
  EXPECT_NE(result.err.find(image), std::string::npos) << result.err;
}

TEST_F(FsckTest, WrongUsageGivesSixteen) {
  const std::string image = SoundImage();
  const std::vector<std::string> cases[] = {{}, {"--bogus", image}, {"-n", "-y", image},
                                            {"-n", image, image}, {"-Cx", image}};
  for (const auto& arguments : cases) {
    const ProgramResult result = Fsck(arguments);
    EXPECT_EQ(result.exit_code, 16) << result.err;
  }
  EXPECT_EQ(Fsck({"-V"}).exit_code, 0);
  EXPECT_NE(Fsck({"-V"}).out.find("fsck.cofs"), std::string::npos);
}

TEST_F(FsckTest, JsonIsAllThereIsOnStandardOutput) {
  const ProgramResult result = Fsck({"-n", "--json", "--data", DamagedImage()});
  EXPECT_EQ(result.exit_code, 4);
  const auto json = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  ASSERT_FALSE(json.is_discarded()) << result.out;
  EXPECT_EQ(json["exit_code"], 4);
  EXPECT_EQ(json["finding_counts"]["link-count"], 1);
  EXPECT_EQ(json["finding_counts"]["data-checksum"], 1);
}

TEST_F(FsckTest, ProgressGoesToTheDescriptor) {
  const std::string image = SoundImage();
  const ProgramResult result = Fsck({"-n", "-C2", image});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("\n3 100 100 "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(image + "\n"), std::string::npos) << result.err;
  // No terminal, no bar.
  EXPECT_EQ(Fsck({"-n", "-C", image}).err, "");
}

}  // namespace
}  // namespace cofs
