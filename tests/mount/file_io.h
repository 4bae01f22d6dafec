// System calls and bytes of the mount tests.
//
// What a test takes for granted throws std::system_error with the path, which
// GoogleTest reports as a failure; what it asks is an AssertionResult:
//
//   ASSERT_TRUE(Succeeds(rename(a, b)));
//   EXPECT_TRUE(FailsWith(rename(a, b), EINVAL));
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/file_descriptor.h"

namespace cofs {

// std::system_error of errno, with `what`, usually a path.
[[noreturn]] void ThrowErrno(const std::string& what);

::testing::AssertionResult Succeeds(long result);
::testing::AssertionResult FailsWith(long result, int error_number);

// COFS_SEED, else a fixed one. Printed by every test program that uses it.
uint64_t Seed();

// Bytes of an endless stream; each (seed, offset) has one value, no 4 KiB of two seeds
// or offsets are alike.
std::string Pattern(uint64_t seed, uint64_t offset, size_t length);

// ---- files; throw on failure ----
Fd Open(const std::string& path, int flags, mode_t mode = 0644);
void WriteAt(int fd, uint64_t offset, std::string_view data);
std::string ReadAt(int fd, uint64_t offset, size_t length);  // short at the end
void WriteFile(const std::string& path, std::string_view data);
std::string ReadFile(const std::string& path);
// Through O_DIRECT in pieces of 1 MiB.
std::string ReadFileDirect(const std::string& path);
struct stat Stat(const std::string& path);   // does not follow symlinks
struct stat Stat(int fd);
bool Exists(const std::string& path);
void MakeDirectory(const std::string& path);
void SyncDirectory(const std::string& path);
void RemoveTree(const std::string& path);
// Names without "." and "..", sorted.
std::vector<std::string> ListDirectory(const std::string& path);

// "equal", or where the two first differ (and nothing of megabytes).
::testing::AssertionResult SameBytes(std::string_view actual, std::string_view expected);

// Data and holes as SEEK_DATA and SEEK_HOLE tell them: pairs of [begin, end).
struct DataRange {
  uint64_t begin = 0, end = 0;
  friend bool operator==(const DataRange&, const DataRange&) = default;
};
std::vector<DataRange> DataRanges(int fd);
std::ostream& operator<<(std::ostream& out, const DataRange& range);

// Runs body(0..count-1) in threads, waits for all; an exception of one is a failure.
void InThreads(int count, const std::function<void(int)>& body);

// Runs `body` in a child process as an ordinary user (uid and gid 65534, no
// capability). Its return value, below 120: an errno or 0; 120 for an exception.
int AsOrdinaryUser(const std::function<int()>& body);
inline constexpr uid_t kOrdinaryUser = 65534;

// Page-aligned memory for O_DIRECT, holding `data`.
AlignedBuffer AlignedCopy(std::string_view data);

}  // namespace cofs
