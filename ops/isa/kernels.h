#pragma once
#include <cstdint>
#include <span>

namespace sinter {

// Rows of b-bit codes on a grid, as in PackedInt: w_rj = scale_rg·(code_rj − zero_rg), g = j / group.
struct PackedRows {
  const std::uint8_t* codes;  // row r begins at codes + r·row_bytes
  const std::uint8_t* end;  // of all rows: no byte from there on is read
  const float* scale;  // [R, groups], and 16 more numbers that may be read
  const std::uint8_t* zero;  // [R, groups], and 16 more
  std::int64_t row_bytes, cols, group, groups;
  int bits;
};

// Rows of x in two signed digits of 8 bits, chunk by chunk of columns: ops/isa/digits.inl. Everything is padded with
// zeros, `digits` and its rows to whole chunks, `group_sum` to multiples of 16.
struct DigitRows {
  std::int8_t* digits;  // [T, 2·chunks·chunk], 64-byte aligned
  float* scale;  // [T, chunks]
  float* group_sum;  // [T, groups]
};

// Rows of which only some weights are stored; bit j % 8 of byte j / 8 of a row's mask says whether column j has one.
struct SparseRows {
  const std::uint8_t* mask;
  const std::int64_t* begin;  // [R + 1]: where a row's values begin, or its codes, in bytes; 64 bytes more may be read
  std::int64_t mask_bytes, rows, cols;
};

// The f32 inner loops of the CPU ops, compiled once per instruction set (baseline, avx2, avx512, avx512vnni) and chosen once by
// CPUID. Plain pointers: no alignment is asked for, n may be 0, halves are passed as their bits.
// Where it is not said otherwise y may be x (in place), but no other overlap is allowed.
struct CpuKernels {
  const char* name;

  // y[t·ldy + r] = Σ_j x[t·ldx + j]·w[r·ldw + j],  t < T, r < R, j < k: few rows against many, read once.
  template <class W>
  using DotRows = void(const float* x, std::int64_t ldx, int T, const W* w, std::int64_t ldw, std::int64_t R,
                       std::int64_t k, float* y, std::int64_t ldy);
  DotRows<float>* dot_rows_f32;
  DotRows<std::uint16_t>* dot_rows_bf16;
  DotRows<std::uint16_t>* dot_rows_f16;

  // y[t·ldy + j] += Σ_r a[t·lda + r]·w[r·ldw + j],  t < T, r < R, j < n.
  template <class W>
  using AddRows = void(const float* a, std::int64_t lda, int T, const W* w, std::int64_t ldw, std::int64_t R,
                       std::int64_t n, float* y, std::int64_t ldy);
  AddRows<float>* add_rows_f32;
  AddRows<std::uint16_t>* add_rows_bf16;
  AddRows<std::uint16_t>* add_rows_f16;

  // y_j = scale·(code_{first+j} − zero), codes of 2, 3, 4 or 8 bits in a little-endian bit stream that ends, at the
  // latest, at `end`: no byte from there on is read.
  void (*unpack)(float* y, const std::uint8_t* stream, const std::uint8_t* end, std::int64_t first, std::int64_t n,
                 int bits, float scale, float zero);

  // dot_rows on rows that are unpacked in registers; meant for T <= 4.
  void (*dot_packed)(const float* x, std::int64_t ldx, int T, const PackedRows& w, std::int64_t R, float* y,
                     std::int64_t ldy);

  // The few rows of bf16 mode: x in digits, made once, with rows of codes; formula and error in ops/isa/digits.inl. The
  // columns that share a scale for codes of `bits` bits (kInColumnOrder: of a sparse matrix); 0: no digits here.
  static constexpr int kInColumnOrder = 1;
  std::int64_t (*digit_chunk)(int bits);
  void (*split_digits)(const float* x, std::int64_t ldx, int T, std::int64_t cols, std::int64_t group, int bits,
                       const DigitRows& to);
  // A group is whole chunks, or a part of one that is a multiple of 16 columns, or the row.
  void (*dot_digits)(const DigitRows& x, int T, const PackedRows& w, std::int64_t R, float* y, std::int64_t ldy);

  // Few rows of x with rows of which only some weights are stored (ops/isa/sparse.inl).
  template <class W>
  using DotSparse = void(const float* x, std::int64_t ldx, int T, const SparseRows& w, const W* values, float* y,
                         std::int64_t ldy);
  DotSparse<float>* dot_sparse_f32;
  DotSparse<std::uint16_t>* dot_sparse_bf16;
  DotSparse<std::uint16_t>* dot_sparse_f16;
  // The stored weights are codes; a group is whole chunks or the row. Null where digit_chunk(kInColumnOrder) is 0.
  void (*dot_sparse_digits)(const DigitRows& x, int T, const SparseRows& w, const PackedRows& grid, float* y,
                            std::int64_t ldy);

  // Rows of which only some values are stored: bit j % 8 of mask[j / 8] says whether column j has one. For the columns
  // first .. first + n: y_j = the next value, or 0. Returns what follows those taken; none from `end` on is read, nor a
  // byte of the mask behind column first + n.
  template <class W>
  using Expand = const W*(float* y, const std::uint8_t* mask, std::int64_t first, std::int64_t n, const W* values,
                          const W* end);
  Expand<float>* expand_f32;
  Expand<std::uint16_t>* expand_bf16;
  Expand<std::uint16_t>* expand_f16;
  // y_j = scale·(the next code − zero), or 0; codes as f32
  const float* (*expand_grid)(float* y, const std::uint8_t* mask, std::int64_t first, std::int64_t n,
                              const float* codes, const float* end, float scale, float zero);
  std::int64_t (*count_bits)(const std::uint8_t* mask, std::int64_t n);  // set among the first n

  void (*bf16_to_f32)(float* y, const std::uint16_t* x, std::int64_t n);
  void (*f16_to_f32)(float* y, const std::uint16_t* x, std::int64_t n);
  void (*round_bf16)(float* y, const float* x, std::int64_t n);  // the nearest bf16, as f32

  // Relative error at most about 1e-7; exp(−inf) = 0, exp(+inf) = inf, NaN stays NaN.
  void (*vexp)(float* y, const float* x, std::int64_t n);
  void (*silu)(float* y, const float* x, std::int64_t n);  // x·σ(x)
  void (*swiglu)(float* y, const float* gate, const float* up, std::int64_t n);  // silu(gate)·up; y may be either
  // dgate = dy·up·silu'(gate), dup = dy·silu(gate); the outputs may be any of the inputs, element for element
  void (*swiglu_vjp)(float* dgate, float* dup, const float* gate, const float* up, const float* dy, std::int64_t n);

  // Softmax of a row: m = max(x), s = exp_sum(y, x, a, m·a), scale(y, 1 / s).
  float (*max)(const float* x, std::int64_t n);  // −inf for n = 0; NaNs are passed over
  float (*exp_sum)(float* y, const float* x, float a, float shift, std::int64_t n);  // y = exp(a·x − shift); Σ y

  float (*sum)(const float* x, std::int64_t n);
  float (*dot)(const float* x, const float* y, std::int64_t n);
  void (*axpy)(float* y, float a, const float* x, std::int64_t n);  // y += a·x
  void (*scale)(float* y, float a, std::int64_t n);  // y *= a
  void (*add)(float* y, const float* x, std::int64_t n);  // y += x
  void (*mul)(float* y, const float* a, const float* b, std::int64_t n);  // y = a·b; y may be either

  // c[m, n] = a·b, or c += a·b where `add`; a(i, p) = a[i·rs + p·cs], b[k, n] with rows ldb apart. Everything in cache;
  // m is a multiple of 8, n of 16.
  void (*tile_product)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t rs, std::int64_t cs,
                       const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool add);
};

const CpuKernels& cpu_kernels();  // the best this processor has
std::span<const CpuKernels* const> supported_kernels();  // all it has, plainest first; for tests

}  // namespace sinter
