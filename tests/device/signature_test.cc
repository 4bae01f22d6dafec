// Signatures of others, from images with hand-made magic bytes.
#include "device/signature.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "tests/device/device_fixture.h"

namespace cofs {
namespace {

constexpr uint64_t kImageBytes = 16 << 20;

void Put(const std::string& path, off_t offset, std::string_view bytes) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), offset),
            static_cast<ssize_t>(bytes.size()));
}

std::string Get(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes(kImageBytes, '\0');
  EXPECT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0),
            static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// LUKS 1: magic and version 1, big-endian.
void PutLuks(const std::string& path) {
  Put(path, 0, std::string_view("LUKS\xba\xbe\0\x01", 8));
}
// Swap: version 1 and a last page in the header, magic at the end of the first page.
void PutSwap(const std::string& path) {
  Put(path, 1024, std::string_view("\x01\0\0\0\xff\x0f\0\0", 8));
  Put(path, 4096 - 10, "SWAPSPACE2");
}
// A partition table with one Linux partition from sector 2048 on.
void PutDos(const std::string& path) {
  Put(path, 446, std::string_view("\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x10\0\0", 16));
  Put(path, 510, "\x55\xaa");
}

TEST(Signature, FoundAndWiped) {
  const struct {
    const char* name;
    std::vector<void (*)(const std::string&)> put;
    std::vector<std::string> finds;
  } cases[] = {
      {"nothing", {}, {}},
      {"luks", {PutLuks}, {"crypto_LUKS"}},
      {"swap", {PutSwap}, {"swap"}},
      {"dos", {PutDos}, {"dos partition table"}},
      {"two", {PutSwap, PutDos}, {"swap", "dos partition table"}},
  };
  TempFolder folder;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string path = folder / c.name;
    MakeImage(path, kImageBytes);
    Put(path, 1 << 20, "data that stays");
    for (const auto put : c.put) put(path);

    const std::string before = Get(path);
    const auto found = FindForeignSignature(path);
    ASSERT_TRUE(found.ok()) << found.error().ToString();
    EXPECT_EQ(Get(path), before) << "looking changed the image";
    EXPECT_EQ(found->empty(), c.finds.empty()) << *found;
    for (const std::string& name : c.finds)
      EXPECT_NE(found->find(name), std::string::npos) << *found;

    const auto wiped = WipeSignatures(path);
    ASSERT_TRUE(wiped.ok()) << wiped.error().ToString();
    for (const std::string& name : c.finds)
      EXPECT_NE(wiped->find(name), std::string::npos) << *wiped;
    const auto after = FindForeignSignature(path);
    ASSERT_TRUE(after.ok());
    EXPECT_EQ(*after, "");
    EXPECT_EQ(Get(path).substr(1 << 20), before.substr(1 << 20));
  }
}

TEST(Signature, ErrorsNameThePath) {
  const auto found = FindForeignSignature("/nowhere/x");
  ASSERT_TRUE(found.Is(ErrorCode::kNotFound));
  EXPECT_NE(found.error().ToString().find("/nowhere/x"), std::string::npos);
  EXPECT_TRUE(WipeSignatures("/nowhere/x").Is(ErrorCode::kNotFound));
}

}  // namespace
}  // namespace cofs
