#include "core/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace sinter {
namespace {

using Chunk = std::function<void(std::int64_t)>;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until the value differs from `old`: spins for some ten microseconds, then sleeps in the kernel, so that a
// competing process costs a time slice and not a spinning core.
template <class T>
void wait_change(const std::atomic<T>& a, T old) {
  for (int i = 0; i < 200; ++i) {
    if (a.load(std::memory_order_acquire) != old) return;
    relax();
  }
  a.wait(old, std::memory_order_acquire);
}

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {  // workers_ joins first
    stop_ = true;
    start_round();
  }
  int size() const { return int(workers_.size()) + 1; }

  void run(std::int64_t chunks, const Chunk& f) {
    chunks_ = chunks;
    f_ = &f;
    next_ = 0;
    gate_ = 0;
    start_round();
    take();
    // Workers that have not come by now are not waited for: on a busy machine they may be long in coming.
    for (unsigned g = gate_ |= kClosed; (g = gate_.load(std::memory_order_acquire)) != kClosed;) wait_change(gate_, g);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void start_round() {
    ++round_;
    round_.notify_all();
  }
  void take() {
    try {
      for (std::int64_t k; (k = next_++) < chunks_;) (*f_)(k);
    } catch (...) {
      next_ = chunks_;
      const std::lock_guard lock(failure_mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }
  bool enter() {
    for (unsigned g = gate_; !(g & kClosed);)
      if (gate_.compare_exchange_weak(g, g + 1)) return true;
    return false;
  }
  void work() {
    for (unsigned seen = 0;;) {
      wait_change(round_, seen);
      seen = round_;
      if (stop_) return;
      if (!enter()) continue;
      take();
      if (--gate_ == kClosed) gate_.notify_one();
    }
  }
  static constexpr unsigned kClosed = 1u << 31;
  std::int64_t chunks_ = 0;
  const Chunk* f_ = nullptr;
  std::atomic<std::int64_t> next_ = 0;
  std::atomic<unsigned> round_ = 0;
  std::atomic<unsigned> gate_ = kClosed;  // the workers inside the round, and whether it takes more
  std::atomic<bool> stop_ = false;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::vector<std::jthread> workers_;
};

std::unique_ptr<Pool>& pool() {
  static auto p = std::make_unique<Pool>(available_cores());
  return p;
}
constinit std::atomic_flag in_use;

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

int threads() { return pool()->size(); }

void set_threads(int n) {
  if (n != pool()->size()) pool() = std::make_unique<Pool>(std::max(1, n));
}

void parallel_for(std::int64_t n, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& f) {
  const std::int64_t chunks = (n + grain - 1) / grain;
  if (chunks <= 1 || in_use.test_and_set()) {
    for (std::int64_t k = 0; k < chunks; ++k) f(k * grain, std::min(n, (k + 1) * grain));
    return;
  }
  struct Release {
    ~Release() { in_use.clear(); }
  } release;
  pool()->run(chunks, [&](std::int64_t k) { f(k * grain, std::min(n, (k + 1) * grain)); });
}

double ordered_sum(std::int64_t n, const std::function<double(std::int64_t, std::int64_t)>& part) {
  constexpr std::int64_t kChunk = 4096;
  std::vector<double> sums(std::size_t((n + kChunk - 1) / kChunk));
  parallel_for(n, kChunk, [&](std::int64_t b, std::int64_t e) { sums[std::size_t(b / kChunk)] = part(b, e); });
  double total = 0;
  for (double s : sums) total += s;
  return total;
}

}  // namespace sinter
