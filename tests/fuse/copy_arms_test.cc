// CopyArms and ReadTickets: who may use them, and how long.
#include "fs/fuse/copy_arms.h"

#include <gtest/gtest.h>

#include "fs/fuse/cofs_ioctl.h"
#include "fs/fuse/read_tickets.h"

namespace cofs {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr InodeId kFile{7}, kOther{8};

class CopyArmsTest : public ::testing::Test {
 protected:
  CopyArm Arm(uint64_t length, std::optional<InodeId> snapshot = {}) {
    CopyArm arm;
    arm.length_bytes = length;
    arm.how = COFS_ARM_CLONE;
    arm.snapshot = snapshot;
    return arm;
  }

  std::chrono::steady_clock::time_point now_{};
  std::vector<InodeId> dropped_;
  CopyArms arms_{[this](InodeId snapshot) { dropped_.push_back(snapshot); },
                 [this] { return now_; }};
};

TEST_F(CopyArmsTest, OneForEachThreadAndFile) {
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(10)).ok());
  ASSERT_TRUE(arms_.Put(2, kFile, Arm(20)).ok());
  ASSERT_TRUE(arms_.Put(1, kOther, Arm(30)).ok());
  EXPECT_FALSE(arms_.Take(3, kFile));
  EXPECT_EQ(20u, arms_.Take(2, kFile)->length_bytes);
  EXPECT_FALSE(arms_.Take(2, kFile));
  EXPECT_EQ(10u, arms_.Take(1, kFile)->length_bytes);
  EXPECT_EQ(30u, arms_.Take(1, kOther)->length_bytes);
}

TEST_F(CopyArmsTest, TheNextReplacesIt) {
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(10, InodeId{100})).ok());
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(20)).ok());
  EXPECT_EQ(std::vector{InodeId{100}}, dropped_);
  EXPECT_EQ(20u, arms_.Take(1, kFile)->length_bytes);
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(10, InodeId{101})).ok());
  arms_.Disarm(1, kFile);
  EXPECT_EQ((std::vector{InodeId{100}, InodeId{101}}), dropped_);
  EXPECT_FALSE(arms_.Take(1, kFile));
}

TEST_F(CopyArmsTest, GoneWithTheLastWriter) {
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(10, InodeId{100})).ok());
  ASSERT_TRUE(arms_.Put(9, kFile, Arm(10)).ok());
  ASSERT_TRUE(arms_.Put(1, kOther, Arm(30)).ok());
  EXPECT_EQ(std::vector{InodeId{100}}, arms_.Closed(kFile));
  EXPECT_TRUE(dropped_.empty()) << "the caller does that";
  EXPECT_FALSE(arms_.Take(1, kFile));
  EXPECT_FALSE(arms_.Take(9, kFile));
  EXPECT_TRUE(arms_.Take(1, kOther));
}

TEST_F(CopyArmsTest, TooLateIsToldAndNotForgotten) {
  ASSERT_TRUE(arms_.Put(1, kFile, Arm(10, InodeId{100})).ok());
  now_ += CopyArms::kLifetime - seconds(1);
  ASSERT_TRUE(arms_.Put(2, kFile, Arm(20)).ok());
  EXPECT_TRUE(dropped_.empty());
  now_ += seconds(1);
  ASSERT_TRUE(arms_.Put(3, kFile, Arm(20)).ok());
  EXPECT_EQ(std::vector{InodeId{100}}, dropped_);
  now_ += minutes(100);
  const auto late = arms_.Take(1, kFile);
  ASSERT_TRUE(late);
  EXPECT_TRUE(late->is_late);
  EXPECT_FALSE(late->snapshot);
}

TEST_F(CopyArmsTest, NotTooMany) {
  for (pid_t thread = 1; thread <= static_cast<pid_t>(CopyArms::kCountMax); ++thread)
    ASSERT_TRUE(arms_.Put(thread, kFile, Arm(1)).ok());
  EXPECT_TRUE(arms_.Put(5000, kFile, Arm(1)).Is(ErrorCode::kBusy));
  EXPECT_TRUE(arms_.Put(7, kFile, Arm(2)).ok()) << "in place of its own";
  now_ += CopyArms::kLifetime;
  EXPECT_TRUE(arms_.Put(5000, kFile, Arm(1)).ok()) << "in place of those that are late";
}

TEST(ReadTicketsTest, HoldForTheOneWhoAskedAndForAWhile) {
  std::chrono::steady_clock::time_point now{};
  ReadTickets tickets([&] { return now; });
  const ReadTickets::Holder holder{10, 1000};
  const ReadTicket ticket = tickets.Issue(holder, kFile);
  EXPECT_EQ(kFile, tickets.Check(ticket, holder).value());
  EXPECT_EQ(kFile, tickets.Check(ticket, holder).value()) << "more than once";
  EXPECT_TRUE(tickets.Check(ticket, {11, 1000}).Is(ErrorCode::kStale)) << "another thread";
  EXPECT_TRUE(tickets.Check(ticket, {10, 1001}).Is(ErrorCode::kStale)) << "another user";
  EXPECT_TRUE(tickets.Check({ticket[0], ticket[1] ^ 1}, holder).Is(ErrorCode::kStale));
  EXPECT_TRUE(tickets.Check({0, 0}, holder).Is(ErrorCode::kStale));
  const ReadTicket other = tickets.Issue(holder, kOther);
  EXPECT_NE(ticket, other);
  EXPECT_EQ(kOther, tickets.Check(other, holder).value());
  now += seconds(20);
  EXPECT_EQ(ticket, tickets.Issue(holder, kFile)) << "the same with a new life";
  now += seconds(20);
  EXPECT_TRUE(tickets.Check(other, holder).Is(ErrorCode::kStale));
  EXPECT_EQ(kFile, tickets.Check(ticket, holder).value());
  now += seconds(10);
  EXPECT_TRUE(tickets.Check(ticket, holder).Is(ErrorCode::kStale));
}

TEST(ReadTicketsTest, TheOldestGoesWhenThereAreTooMany) {
  ReadTickets tickets;
  const ReadTicket first = tickets.Issue({1, 0}, kFile);
  const ReadTicket second = tickets.Issue({2, 0}, kFile);
  for (size_t i = 0; i < ReadTickets::kCountMax - 1; ++i)
    tickets.Issue({static_cast<pid_t>(100 + i), 0}, kFile);
  EXPECT_FALSE(tickets.Check(first, {1, 0}).ok());
  EXPECT_TRUE(tickets.Check(second, {2, 0}).ok());
}

}  // namespace
}  // namespace cofs
