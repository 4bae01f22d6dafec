// Mutexes that clang's thread-safety analysis understands (preset "clang").
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define COFS_TSA(x) __attribute__((x))
#else
#define COFS_TSA(x)
#endif

#define CAPABILITY(x) COFS_TSA(capability(x))
#define SCOPED_CAPABILITY COFS_TSA(scoped_lockable)
#define GUARDED_BY(x) COFS_TSA(guarded_by(x))
#define PT_GUARDED_BY(x) COFS_TSA(pt_guarded_by(x))
#define REQUIRES(...) COFS_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) COFS_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) COFS_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) COFS_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) COFS_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) COFS_TSA(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) COFS_TSA(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) COFS_TSA(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) COFS_TSA(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS COFS_TSA(no_thread_safety_analysis)

namespace cofs {

class CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() {
    if (held_) mutex_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  void Unlock() RELEASE() {
    held_ = false;
    mutex_.unlock();
  }
  void Lock() ACQUIRE() {
    mutex_.lock();
    held_ = true;
  }

 private:
  Mutex& mutex_;
  bool held_ = true;
};

class CAPABILITY("shared_mutex") SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  void lock_shared() ACQUIRE_SHARED() { mutex_.lock_shared(); }
  void unlock_shared() RELEASE_SHARED() { mutex_.unlock_shared(); }

 private:
  std::shared_mutex mutex_;
};

class SCOPED_CAPABILITY ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~ExclusiveLock() RELEASE() { mutex_.unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class SCOPED_CAPABILITY SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex) ACQUIRE_SHARED(mutex) : mutex_(mutex) {
    mutex_.lock_shared();
  }
  ~SharedLock() RELEASE_GENERIC() { mutex_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& mutex_;
};

class CondVar {
 public:
  // Spurious wake-ups happen: call in a loop over the condition.
  void Wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // Returns false when `timeout` passed without a notification.
  bool WaitFor(Mutex& mutex, std::chrono::milliseconds timeout) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    // system_clock: ThreadSanitizer of GCC 12 does not know pthread_cond_clockwait.
    const bool notified =
        condition_.wait_until(lock, std::chrono::system_clock::now() + timeout) ==
        std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace cofs
