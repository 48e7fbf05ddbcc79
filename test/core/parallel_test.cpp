#include "core/parallel.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

// Restores the size of the pool.
struct KeepThreads {
  int before = threads();
  ~KeepThreads() { set_threads(before); }
};

using Bounds = std::vector<std::pair<std::int64_t, std::int64_t>>;

Bounds chunks(std::int64_t n, std::int64_t grain) {
  Bounds all(std::size_t((n + grain - 1) / grain), {-1, -1});
  parallel_for(n, grain, [&](auto b, auto e) { all[std::size_t(b / grain)] = {b, e}; });
  return all;
}

}  // namespace

TEST_CASE("Chunks cover the range once, with the same bounds for any number of threads") {
  const KeepThreads keep;
  const Bounds expected{{0, 3}, {3, 6}, {6, 9}, {9, 10}};
  for (const int n : {1, 2, 3, 8}) {
    set_threads(n);
    CHECK(threads() == n);
    CHECK(chunks(10, 3) == expected);
    CHECK(chunks(0, 3).empty());
    CHECK(chunks(1, 100) == Bounds{{0, 1}});
  }
  set_threads(0);
  CHECK(threads() == 1);
}

TEST_CASE("Several threads take part when there are several chunks") {
  const KeepThreads keep;
  set_threads(2);
  std::atomic<int> here = 0;
  std::atomic<bool> met = false;
  parallel_for(2, 1, [&](auto, auto) {  // each chunk waits for the other, for ten seconds at most
    ++here;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (here < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (here == 2) met = true;
  });
  CHECK(met);
}

TEST_CASE("A nested loop runs inline and covers its range") {
  const KeepThreads keep;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    std::vector<int> hits(100);
    parallel_for(10, 1, [&](auto b, auto) {
      const auto outer = std::this_thread::get_id();
      parallel_for(10, 3, [&](auto s, auto e) {
        if (std::this_thread::get_id() != outer) hits[0] = 1000;
        for (; s < e; ++s) ++hits[std::size_t(b * 10 + s)];
      });
    });
    CHECK(std::ranges::all_of(hits, [](int h) { return h == 1; }));
  }
}

TEST_CASE("An error in a chunk reaches the caller, and the pool works on") {
  const KeepThreads keep;
  for (const int n : {1, 2, 3}) {
    set_threads(n);
    for (int round = 0; round < 50; ++round) {
      CHECK_THROWS_TEXT(numeric, "from a chunk", parallel_for(8, 1, [](auto b, auto) {
                          require(b != 5, ErrorCode::numeric, "test", "from a chunk");
                        }));
      CHECK(chunks(10, 3).size() == 4);
    }
    CHECK_THROWS_CODE(numeric, parallel_for(4, 1, [](auto, auto) {
                        parallel_for(4, 1, [](auto, auto) { fail(ErrorCode::numeric, "test", "nested"); });
                      }));
  }
}

TEST_CASE("Many short loops in a row neither hang nor lose a chunk") {
  const KeepThreads keep;
  set_threads(3);
  std::atomic<std::int64_t> sum = 0;
  for (int i = 0; i < 20000; ++i) parallel_for(3, 1, [&](auto b, auto) { sum += b; });
  CHECK(sum == 3 * 20000);
}

TEST_CASE("Loops from two threads of the program do not disturb each other") {
  const KeepThreads keep;
  set_threads(2);
  std::atomic<std::int64_t> sum = 0;
  const auto work = [&] {
    for (int i = 0; i < 2000; ++i) parallel_for(5, 1, [&](auto b, auto) { sum += b; });
  };
  {
    const std::jthread other(work);
    work();
  }
  CHECK(sum == 2 * 2000 * 10);
}

TEST_CASE("An ordered sum has the same bits for any number of threads") {
  const KeepThreads keep;
  const Tensor x = randn({100003}, 1);
  const auto* v = x.data<double>().data();
  const auto part = [v](std::int64_t b, std::int64_t e) {
    double s = 0;
    for (; b < e; ++b) s += v[b];
    return s;
  };
  set_threads(1);
  const double one = ordered_sum(100003, part);
  for (const int n : {2, 3}) {
    set_threads(n);
    CHECK(ordered_sum(100003, part) == one);
  }
  CHECK(std::abs(one - part(0, 100003)) < 1e-9);
  CHECK(ordered_sum(0, part) == 0);
}
