// FakeKernel: the kernel's end of a FUSE connection, played by the test: a pair of
// sockets that keep message boundaries stand in for /dev/fuse. Needs no privilege.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"
#include "fs/fuse/fuse_api.h"

namespace cofs {

struct Answer {
  int error_number = -1;  // -1: none came
  std::string payload;

  bool ok() const { return error_number == 0; }
  // The structure at `offset` of the payload; zeros when it is too short.
  template <typename T>
  T as(size_t offset = 0) const {
    T value;
    std::memset(&value, 0, sizeof(value));
    if (payload.size() >= offset + sizeof(T))
      std::memcpy(&value, payload.data() + offset, sizeof(T));
    return value;
  }
};

template <typename T>
std::string BytesOf(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
// A name as it travels: with its zero.
inline std::string NameBytes(std::string_view name) { return std::string(name) + '\0'; }

class FakeKernel {
 public:
  FakeKernel() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
    kernel_ = Fd(ends[0]);
    daemon_ = Fd(ends[1]);
    const timeval patience{60, 0};
    ::setsockopt(kernel_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }

  Fd TakeDaemonEnd() { return std::move(daemon_); }
  void Close() { kernel_.Reset(); }
  // `thread` 0: one that the daemon can't see.
  void set_caller(uint32_t uid, pid_t thread = 0) {
    uid_ = uid;
    thread_ = static_cast<uint32_t>(thread);
  }

  // Returns the request's number.
  uint64_t Send(uint32_t opcode, uint64_t node, std::string_view argument) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof(header) + argument.size());
    header.opcode = opcode;
    header.unique = next_unique_;
    header.nodeid = node;
    header.uid = uid_;
    header.pid = thread_;
    next_unique_ += 2;  // odd ones are interrupts
    std::string message = BytesOf(header);
    message += argument;
    EXPECT_EQ(::send(kernel_.get(), message.data(), message.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(message.size()))
        << std::strerror(errno);
    return header.unique;
  }
  // Answers may come in any order.
  Answer Receive(uint64_t unique) {
    while (!answers_.contains(unique)) {
      ssize_t length;
      do {
        length = ::recv(kernel_.get(), buffer_.data(), buffer_.size(), 0);
      } while (length < 0 && errno == EINTR);
      if (length < static_cast<ssize_t>(sizeof(fuse_out_header))) {
        ADD_FAILURE() << "no answer to request " << unique;
        return {};
      }
      const std::string message = buffer_.substr(0, static_cast<size_t>(length));
      fuse_out_header header;
      std::memcpy(&header, message.data(), sizeof(header));
      EXPECT_EQ(header.len, message.size());
      EXPECT_FALSE(answers_.contains(header.unique)) << "two answers to one request";
      answers_[header.unique] = {-header.error, message.substr(sizeof(header))};
    }
    Answer answer = std::move(answers_[unique]);
    return answer;
  }
  Answer Ask(uint32_t opcode, uint64_t node, std::string_view argument) {
    return Receive(Send(opcode, node, argument));
  }

 private:
  Fd kernel_, daemon_;
  uint64_t next_unique_ = 2;
  uint32_t uid_ = 0, thread_ = 0;
  std::map<uint64_t, Answer> answers_;
  std::string buffer_ = std::string(2 << 20, '\0');
};

}  // namespace cofs
