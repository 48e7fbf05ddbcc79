#pragma once
#include <cstdint>
#include <functional>

namespace sinter {

int available_cores();  // those this process may use
int threads();  // the size of the pool now

// The machine's one pool. Set once at start, never inside parallel_for.
void set_threads(int n);

// f(begin, end) over chunks of `grain`, whose bounds depend on n and grain only. Runs inline, chunk by chunk, when
// nested. The first exception of a chunk reaches the caller.
void parallel_for(std::int64_t n, std::int64_t grain, const std::function<void(std::int64_t, std::int64_t)>& f);

// Σ part(begin, end) with chunks of constant size added in index order: the same bits for any number of threads.
double ordered_sum(std::int64_t n, const std::function<double(std::int64_t, std::int64_t)>& part);

}  // namespace sinter
