// Included inside the namespace of one instruction set, after SINTER_LANES is set: its vectors and what they can do.
// Nothing here may instantiate an inline function of the standard library: the linker keeps one copy for everybody, and
// it could be this one, on a processor that lacks the instructions.

using i64 = std::int64_t;
using u16 = std::uint16_t;
using u8 = std::uint8_t;
constexpr int kLanes = SINTER_LANES;

template <int N>
struct Const {};

typedef float VF __attribute__((vector_size(4 * SINTER_LANES)));
typedef std::int32_t VI __attribute__((vector_size(4 * SINTER_LANES)));
typedef std::uint32_t VU __attribute__((vector_size(4 * SINTER_LANES)));
typedef u16 VH __attribute__((vector_size(2 * SINTER_LANES)));
typedef float LooseF __attribute__((vector_size(4 * SINTER_LANES), aligned(4), may_alias));
typedef u16 LooseH __attribute__((vector_size(2 * SINTER_LANES), aligned(2), may_alias));

inline VF load(const float* p) { return *reinterpret_cast<const LooseF*>(p); }
inline VH load_half(const u16* p) { return *reinterpret_cast<const LooseH*>(p); }
inline void store(float* p, VF v) { *reinterpret_cast<LooseF*>(p) = v; }
inline VF all(float v) { return v - VF{}; }

inline VF widen_bf16(VH h) { return (VF)(__builtin_convertvector(h, VU) << 16); }
inline float widen_bf16(u16 h) { return __builtin_bit_cast(float, std::uint32_t(h) << 16); }

// Exponent and mantissa moved into place are the value times 2^-112, subnormals included; 31 stands for inf and NaN.
inline float widen_f16(u16 h) {
  const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16, rest = std::uint32_t(h & 0x7fffu) << 13;
  if (rest >= 0x0f800000u) return __builtin_bit_cast(float, sign | rest | 0x7f800000u);
  return __builtin_bit_cast(float,
                            sign | __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, rest) * 0x1p112f));
}
#if SINTER_LANES == 16
inline VF widen_f16(VH h) { return (VF)_mm512_maskz_cvtph_ps(0xffff, (__m256i)h); }
#elif SINTER_LANES == 8
inline VF widen_f16(VH h) { return (VF)_mm256_cvtph_ps((__m128i)h); }
#else
inline VF widen_f16(VH h) { return VF{widen_f16(h[0]), widen_f16(h[1]), widen_f16(h[2]), widen_f16(h[3])}; }
#endif

// Asks for a line of memory that is needed soon, into the second-level cache: the lines of the first level that can be
// under way at once are too few for the latency of memory. A row of a few kilobytes is too short for the processor to
// see a stream in it by itself. Any address will do.
inline void fetch_later(const void* p) { __builtin_prefetch(p, 0, 2); }
template <class T>
inline void fetch_rows(const T* p, i64 n) {
  for (i64 i = 0; i < n; i += i64(64 / sizeof(T))) fetch_later(p + i);
}

// f(RR, TT as constants, first row, first row of x) for the blocks of R rows of weights and T rows of x.
constexpr int kBlockRows = 4;
template <class F>
inline void each_block(i64 R, int T, F f) {
  i64 r = 0;
  for (; r + kBlockRows <= R; r += kBlockRows) {
    int t = 0;
    for (; t + 4 <= T; t += 4) f(Const<kBlockRows>{}, Const<4>{}, r, t);
    for (; t + 2 <= T; t += 2) f(Const<kBlockRows>{}, Const<2>{}, r, t);
    if (t < T) f(Const<kBlockRows>{}, Const<1>{}, r, t);
  }
  for (; r < R; ++r)
    for (int t = 0; t < T; ++t) f(Const<1>{}, Const<1>{}, r, t);
}

// A zero that the compiler takes for any value. An expansion waits for what its target register held before, also where
// it writes zeros beside the values: into a fresh zero it waits for nothing.
#if SINTER_LANES == 16
inline __m512i fresh_zero() {
  __m512i v = _mm512_setzero_si512();
  asm("" : "+v"(v));
  return v;
}
#endif

// A stored weight, by tag: what a vector and an element of it are as f32.
struct StoredF32 {
  using Type = float;
  static VF vector(const float* p) { return load(p); }
  static float one(float v) { return v; }
};
struct StoredBf16 {
  using Type = u16;
  static VF vector(const u16* p) { return widen_bf16(load_half(p)); }
  static float one(u16 v) { return widen_bf16(v); }
};
struct StoredF16 {
  using Type = u16;
  static VF vector(const u16* p) { return widen_f16(load_half(p)); }
  static float one(u16 v) { return widen_f16(v); }
};

// Pairwise: lanes i and i + lanes / 2, and so on; the same order for every caller.
#if SINTER_LANES > 4
inline float lane_sum(VF v) {
#if SINTER_LANES == 16
  const auto eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                     __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  const VF eight = v;
#endif
  const auto four =
      __builtin_shufflevector(eight, eight, 0, 1, 2, 3) + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
  return (four[0] + four[2]) + (four[1] + four[3]);
}
#else
inline float lane_sum(VF v) { return (v[0] + v[2]) + (v[1] + v[3]); }
#endif

// y_j = f(x_j...) a vector at a time; the rest goes through a padded copy, so that a value's bits do not depend on
// where in the row it stands.
template <class F, class... X>
inline void map(float* y, i64 n, F f, const X*... x) {
  i64 j = 0;
  for (; j + kLanes <= n; j += kLanes) store(y + j, f(load(x + j)...));
  if (j == n) return;
  const auto padded = [&](const float* p) {
    float part[kLanes] = {};
    for (i64 i = j; i < n; ++i) part[i - j] = p[i];
    return load(part);
  };
  float out[kLanes];
  store(out, f(padded(x)...));
  for (i64 i = j; i < n; ++i) y[i] = out[i - j];
}

// e^x = 2^n·e^r, n = round(x / ln 2), |r| <= ln 2 / 2, e^r by its series to r^7 / 7! (truncation below 6e-9). The power
// of two is applied in halves, so that results below 2^-126 round once and overflow gives inf.
inline VF exp(VF x) {
  x = x > 89.f ? all(89.f) : x;  // e^89 is inf in f32, e^-104 is 0; NaN compares false and stays
  x = x < -104.f ? all(-104.f) : x;
  const VF magic = all(0x1.8p23f);  // adding it rounds to an integer, found in the low bits
  const VF shifted = x * 1.44269504f + magic;
  const VF n = shifted - magic;
  VF r = x - n * 0.693359375f;  // 10 bits: n·hi is exact
  r = r + n * 2.12194440e-4f;
  VF p = r * (1.f / 5040) + 1.f / 720;
  p = p * r + 1.f / 120;
  p = p * r + 1.f / 24;
  p = p * r + 1.f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const VI whole = (VI)shifted - (VI)magic, half = whole >> 1, other = whole - half;
  return p * (VF)((half + 127) << 23) * (VF)((other + 127) << 23);
}

// σ(x) = 1 / (1 + e^-x), written with e^-|x| so that neither tail overflows or cancels.
inline VF sigmoid(VF x) {
  const VF magnitude = (VF)((VI)x & 0x7fffffff);
  const VF e = exp(-magnitude);
  return (x < 0.f ? e : all(1.f)) / (1.f + e);
}
inline VF silu(VF x) {
  const VF bounded = x < -200.f ? all(-200.f) : x;  // σ is 0 there, and −inf·0 would be NaN
  return bounded * sigmoid(bounded);
}
