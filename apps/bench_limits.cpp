// The machine's limits, its facts, and the clock that both sides of a comparison share.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "apps/bench.h"
#include "core/parallel.h"
#include "ops/blas_limit.h"
#include "ops/isa/kernels.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kBufferBytes = std::int64_t{512} << 20;  // far beyond any cache
constexpr std::int64_t kBlock = 256;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + std::ptrdiff_t(v.size() / 2), v.end());
  return v[v.size() / 2];
}

// OpenBLAS's threads keep spinning for some 25 ms after a product, on the cores that the engine needs next.
void let_threads_sleep() { std::this_thread::sleep_for(std::chrono::milliseconds(80)); }

// The sum of all 8-byte words of [data, data + bytes), read as S sequential streams. 256 bytes at a time into 8 registers:
// with less work in flight the loop itself would be the limit.
template <int S>
std::uint64_t read_streams(const std::byte* data, std::int64_t bytes) {
  using Vector = std::uint64_t __attribute__((vector_size(16)));
  const std::int64_t length = bytes / S / kBlock * kBlock;
  Vector sum[8] = {};
  for (std::int64_t at = 0; at < length; at += kBlock)
    for (int s = 0; s < S; ++s) {
      const auto* from = reinterpret_cast<const Vector*>(data + s * length + at);
#pragma GCC unroll 16
      for (int i = 0; i < kBlock / 16; ++i) sum[i % 8] += from[i];
    }
  std::uint64_t total = 0;
  for (const Vector& v : sum) total += v[0] + v[1];
  return total;
}

std::uint64_t read_streams(int streams, const std::byte* data, std::int64_t bytes) {
  switch (streams) {
    case 1: return read_streams<1>(data, bytes);
    case 4: return read_streams<4>(data, bytes);
    case 8: return read_streams<8>(data, bytes);
    default: return read_streams<16>(data, bytes);
  }
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") && line.find(": ") != line.npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

std::string today() {
  char text[16];
  const std::time_t t = std::time(nullptr);
  std::tm parts{};
  std::strftime(text, sizeof text, "%Y-%m-%d", gmtime_r(&t, &parts));
  return text;
}

}  // namespace

double timed(const std::function<void()>& f) {
  const double start = now();
  f();
  return now() - start;
}

Pair in_turn(LogSink& log, const std::function<double()>& limit, const std::function<double()>& engine) {
  std::vector<Pair> rounds;
  for (int round = -1; round < kRounds; ++round) {
    log.check_stop("bench");
    const double l = limit();
    let_threads_sleep();
    const double e = engine();
    if (round >= 0) rounds.push_back({l, e});
  }
  const auto middle = rounds.begin() + std::ptrdiff_t(rounds.size() / 2);
  std::ranges::nth_element(rounds, middle, {}, [](const Pair& p) { return p.limit / p.engine; });
  return *middle;
}

Tensor random_tensor(Shape shape, std::uint64_t stream) {
  Tensor t = Tensor::empty(shape, DType::f32);
  const auto out = t.mutable_data<float>();
  const std::int64_t n = t.numel();
  parallel_for(n, 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; i += 4) {
      const U32x4 r = philox(1, stream, std::uint64_t(i));
      for (std::int64_t j = i; j < std::min(i + 4, end); ++j)
        out[std::size_t(j)] = float(std::int32_t(r.v[j - i])) * 0x1p-31f;
    }
  });
  return t;
}

BlasProduct::BlasProduct(std::int64_t m, std::int64_t n, std::int64_t k, Trans trans_b)
    : m_(m),
      n_(n),
      k_(k),
      trans_b_(trans_b),
      a_(random_tensor({m, k}, 1)),
      b_(random_tensor({k, n}, 2)),
      c_(Tensor::zeros({m, n}, DType::f32)) {}

double BlasProduct::seconds() {
  return blas_sgemm_seconds(m_, n_, k_, a_.data<float>().data(), b_.data<float>().data(), trans_b_,
                            c_.mutable_data<float>().data(), threads())
      .value_or(0);
}

Row beside_cube(LogSink& log, std::string_view what, std::string shape, double gflop,
                const std::function<void()>& engine) {
  BlasProduct cube(2048, 2048, 2048);
  const Pair s = in_turn(
      log, [&] { return cube.seconds(); }, [&] { return timed(engine); });
  return {what,      std::move(shape), gflop,
          "GFLOP/s", s.engine,         s.limit > 0 ? std::optional(cube.gflop() / s.limit) : std::nullopt};
}

MemoryReader::MemoryReader() : buffer_(random_tensor({kBufferBytes / 4}, 3)) {
  double best = 0;
  for (const int streams : {1, 4, 8, 16}) {
    std::vector<double> passes;
    for (int i = 0; i < 5; ++i) passes.push_back(pass(streams));
    if (const double rate = 1 / median(passes); rate > best) {
      best = rate;
      streams_ = streams;
    }
  }
}

double MemoryReader::pass(int streams) const {
  const std::int64_t parts = threads(), size = std::int64_t(buffer_.bytes()) / parts / kBlock * kBlock;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(parts));
  const double seconds = timed([&] {
    parallel_for(parts, 1, [&](std::int64_t i, std::int64_t) {
      sums[std::size_t(i)] = read_streams(streams, buffer_.raw() + i * size, size);
    });
  });
  // Used, so that the reading is not optimised away.
  require(sums[0] != 0, ErrorCode::numeric, "bench", "memory reads as zeros");
  return seconds;
}

double MemoryReader::seconds() const { return pass(streams_); }

Machine::Ticks Machine::ticks() {
  Ticks t{};
  std::ifstream stat("/proc/stat");
  std::string cpu;
  stat >> cpu;
  for (int i = 0; i < 8; ++i) {
    double v = 0;
    stat >> v;
    t.all += v;
    if (i == 3 || i == 4) t.idle += v;
  }
  rusage own{};
  getrusage(RUSAGE_SELF, &own);
  const auto seconds = [](const timeval& v) { return double(v.tv_sec) + 1e-6 * double(v.tv_usec); };
  t.own = (seconds(own.ru_utime) + seconds(own.ru_stime)) * double(sysconf(_SC_CLK_TCK));
  return t;
}

Machine::Machine() : begin_(ticks()) {}

Json Machine::facts() const {
  const Ticks end = ticks();
  const double all = end.all - begin_.all, busy = all - (end.idle - begin_.idle) - (end.own - begin_.own);
  return {{"cpu", cpu_name()},    {"cores", available_cores()},
          {"threads", threads()}, {"isa", cpu_kernels().name},
          {"date", today()},      {"others_share", all > 0 ? std::max(0.0, busy / all) : 0.0}};
}

}  // namespace sinter::bench
