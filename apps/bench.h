#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/log.h"
#include "models/causal_lm.h"

// What `sinter bench` measures, and how: every rate beside a limit of the same machine, taken in turn with it.
namespace sinter::bench {

struct Row {
  std::string_view what;
  std::string shape;
  double work;  // of one repetition, in the unit times a second: 1e9 floating-point operations, or 1e9 bytes
  std::string_view unit;  // "GFLOP/s" or "GB/s"
  double seconds;  // of one repetition, median
  std::optional<double> limit;  // in the unit; nothing where this build cannot measure it
  double rate() const { return work / seconds; }
};

struct Case {
  std::string_view what, summary;
  std::vector<Row> (*run)(LogSink&);
};
std::span<const Case> cases();

// Seconds of a call.
double timed(const std::function<void()>&);

// Of kRounds rounds the one with the median ratio; each round measures the limit, lets its threads fall asleep, and
// measures the engine. One unmeasured call of both goes first. A function returns the seconds of one repetition.
inline constexpr int kRounds = 7;
struct Pair {
  double limit, engine;
};
Pair in_turn(LogSink&, const std::function<double()>& limit, const std::function<double()>& engine);

// Numbers between -1 and 1, the same on every machine.
Tensor random_tensor(Shape, std::uint64_t stream);

// A product c[m, n] = a[m, k] op(b) by OpenBLAS on as many threads as the engine, the limit of what works in f32.
class BlasProduct {
 public:
  BlasProduct(std::int64_t m, std::int64_t n, std::int64_t k, Trans trans_b = Trans::no);
  double seconds();  // of one product; 0 in a build without OpenBLAS
  double gflop() const { return 2e-9 * double(m_) * double(n_) * double(k_); }

 private:
  std::int64_t m_, n_, k_;
  Trans trans_b_;
  Tensor a_, b_, c_;
};

// A row whose limit is the rate of 2048 x 2048 x 2048, for work that has no product of one shape.
Row beside_cube(LogSink&, std::string_view what, std::string shape, double gflop, const std::function<void()>& engine);

// Reads memory as fast as the machine can: several sequential streams per thread over huge pages.
class MemoryReader {
 public:
  MemoryReader();  // finds the best number of streams
  double seconds() const;  // one pass over bytes()
  double bytes() const { return double(buffer_.bytes()); }

 private:
  double pass(int streams) const;
  Tensor buffer_;
  int streams_ = 0;
};

// A LLaMA of 110 million random, frozen f32 weights (12 layers of width 768, 32000 tokens, tied), in memory.
std::unique_ptr<CausalLM> llama_110m();

// The bytes of weights that tokens 33 to 48, one at a time, read per second, beside reading memory.
Row decode(LogSink&, std::string_view what, std::string shape, CausalLM&, const MemoryReader&, Compute);

std::vector<Row> gemm_f32(LogSink&);
std::vector<Row> decode_f32(LogSink&);
// A LLaMA of TinyLlama-1.1B's shape in a storage format, in both numeric modes.
std::vector<Row> decode_bf16(LogSink&);
std::vector<Row> decode_int8(LogSink&);
std::vector<Row> decode_int4(LogSink&);
std::vector<Row> decode_int3(LogSink&);
std::vector<Row> decode_int2(LogSink&);
std::vector<Row> decode_2of4_bf16(LogSink&);
std::vector<Row> decode_bitmap_int4(LogSink&);
std::vector<Row> prompt_step(LogSink&);
std::vector<Row> solve_sparsegpt(LogSink&);
std::vector<Row> solve_gptq(LogSink&);
std::vector<Row> hessian(LogSink&);
std::vector<Row> attention_f32(LogSink&);

// The processor, its cores, the threads in use, the kernels chosen, the date, and how busy others kept it meanwhile.
class Machine {
 public:
  Machine();  // the clock of the others starts
  Json facts() const;

 private:
  struct Ticks {
    double all, idle, own;
  };
  static Ticks ticks();
  Ticks begin_;
};

}  // namespace sinter::bench
