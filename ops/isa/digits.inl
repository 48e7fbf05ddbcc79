// Products of codes with activations in two signed digits of 8 bits: the few rows of bf16 mode. Included after vector.inl.
//
//   x_j ≈ scale_c·(256·h_j + l_j),  |256·h_j + l_j| <= 32639,  scale_c = max |x_j| / 32639 over the columns of chunk c
//   y   = Σ_c scale_c Σ_lanes s_lane·(256·Σ h_j code_j + Σ l_j code_j) − Σ_g s_g·zero_g·Σ_{j in g} x_j
//
// Integer sums are exact. Rounding moves the x of a chunk by at most max |x_j| / 65278 each, in norm by √256 / 65278 of
// the chunk's norm, an eighth of what rounding to bf16 may do (2^-9). Numbers below 2^-100 count as 0.
//
// Blocking: kBlockRows rows of codes, each a stream of memory of its own, pass once; the digits of x stay in the
// first-level cache. A chunk is one vector of codes, 8·lanes·4 / bits columns (3 bits: three quarters of a vector, 8·lanes
// columns), and its codes become one vector of bytes for each plane: column P·i + k is byte i of plane k.
// Bytes per weight: bits / 8 + 5 / group. Operations per 64 codes and row of x: two products of bytes, 64 each.

using i8 = std::int8_t;
typedef u8 VB __attribute__((vector_size(4 * SINTER_LANES)));
typedef u8 LooseB __attribute__((vector_size(4 * SINTER_LANES), aligned(1), may_alias));
constexpr int kBytes = 4 * kLanes;

constexpr i64 padded_groups(i64 n) { return (n + 15) / 16 * 16; }
inline VB load_bytes(const void* p) { return *reinterpret_cast<const LooseB*>(p); }

// sum_i += Σ of the four products code·digit in lane i. Without VNNI pairs are added in 16 bits, where codes of 8 bits
// would not fit.
#if defined(__AVX512VNNI__)
constexpr int kWidestDigits = 8;
inline VI add_products(VI sum, VB code, VB digit) {
  return (VI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)code, (__m512i)digit);
}
#elif SINTER_LANES == 16
constexpr int kWidestDigits = 4;
inline VI add_products(VI sum, VB code, VB digit) {
  return sum + (VI)_mm512_madd_epi16(_mm512_maddubs_epi16((__m512i)code, (__m512i)digit), _mm512_set1_epi16(1));
}
#elif SINTER_LANES == 8
constexpr int kWidestDigits = 4;
inline VI add_products(VI sum, VB code, VB digit) {
  return sum + (VI)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)code, (__m256i)digit), _mm256_set1_epi16(1));
}
#else
constexpr int kWidestDigits = 0;
inline VI add_products(VI sum, VB, VB) { return sum; }
#endif

// The codes of a chunk as planes of bytes.
template <int B>
struct Planes {
  static constexpr int kCount = 8 / B, kChunkBytes = kBytes;
  static constexpr bool kHere = kWidestDigits >= B;
  static constexpr int column(int plane, int byte) { return kCount * byte + plane; }
  static void split(const u8* p, VB* plane) {
    const VB v = load_bytes(p);
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) plane[k] = B == 8 ? v : (VB)((VU)v >> B * k) & u8((1 << B) - 1);
  }
};
// 16 codes of three bits are six bytes: they go to a 64-bit lane, from which any eight fields can be picked.
template <>
struct Planes<3> {
  static constexpr int kCount = 2, kChunkBytes = kBytes / 4 * 3;
  static constexpr int column(int plane, int byte) { return 16 * (byte / 8) + 8 * plane + byte % 8; }
#if defined(__AVX512VBMI__)
  static constexpr bool kHere = true;
  struct Places {
    u8 from[64], bit[2][64];
  };
  static constexpr Places kPlaces = [] {
    Places p{};
    for (int i = 0; i < 64; ++i) {
      p.from[i] = u8(i % 8 < 6 ? i / 8 * 6 + i % 8 : 0);
      for (int k = 0; k < 2; ++k) p.bit[k][i] = u8(24 * k + 3 * (i % 8));
    }
    return p;
  }();
  static void split(const u8* p, VB* plane) {
    const __m512i packed = _mm512_maskz_loadu_epi8(0xffffffffffffull, p);
    const __m512i lanes = _mm512_maskz_permutexvar_epi8(~0ull, _mm512_loadu_si512(kPlaces.from), packed);
    for (int k = 0; k < 2; ++k)
      plane[k] = (VB)_mm512_maskz_multishift_epi64_epi8(~0ull, _mm512_loadu_si512(kPlaces.bit[k]), lanes) & u8(7);
  }
#else
  static constexpr bool kHere = false;
  static void split(const u8*, VB*) {}
#endif
};
// The order for codes that come in the order of the columns: two vectors of them.
constexpr int kSparseOrder = CpuKernels::kInColumnOrder;
template <>
struct Planes<kSparseOrder> {
  static constexpr int kCount = 2;
  static constexpr bool kHere = kWidestDigits == 8;
  static constexpr int column(int plane, int byte) { return kBytes * plane + byte; }
};
template <int B>
constexpr int kChunkCodes = kBytes* Planes<B>::kCount;

i64 digit_chunk(int bits) {
  switch (bits) {
    case kSparseOrder: return Planes<kSparseOrder>::kHere ? kChunkCodes<kSparseOrder> : 0;
    case 2: return Planes<2>::kHere ? kChunkCodes<2> : 0;
    case 3: return Planes<3>::kHere ? kChunkCodes<3> : 0;
    case 4: return Planes<4>::kHere ? kChunkCodes<4> : 0;
    default: return Planes<8>::kHere ? kChunkCodes<8> : 0;
  }
}

// The integers 256·h + l of n <= N columns, zeros behind them, and their scale. NaN and inf give a scale that is neither
// finite nor lost in the product.
template <int N>
inline float quantise(const float* x, i64 n, std::int32_t* q) {
  float part[N] = {};
  if (n < N) {
    for (i64 j = 0; j < n; ++j) part[j] = x[j];
    x = part;
  }
  VI most = {};
  for (int j = 0; j < N; j += kLanes) {
    const VI size = (VI)load(x + j) & 0x7fffffff;
    most = size > most ? size : most;
  }
  std::int32_t top = 0;
  for (int i = 0; i < kLanes; ++i) top = most[i] > top ? most[i] : top;
  const float largest = __builtin_bit_cast(float, top), inverse = largest < 0x1p-100f ? 0.f : 32639.f / largest;
  const VF magic = all(0x1.8p23f);  // adding it rounds to an integer, found in the low bits
  for (int j = 0; j < N; j += kLanes) {
    const VI whole = (VI)(load(x + j) * inverse + magic) - (VI)magic;
    __builtin_memcpy(q + j, &whole, sizeof whole);
  }
  return inverse == 0 && top < 0x7f800000 ? 0.f : largest / 32639.f;
}

template <int B>
inline void split_digits_row(const float* x, i64 cols, i64 group, i8* digits, float* scale, float* group_sum) {
  constexpr int kChunk = kChunkCodes<B>;
  for (i64 g = 0; g < padded_groups((cols + group - 1) / group); ++g) group_sum[g] = 0;
  std::int32_t q[kChunk];
  for (i64 first = 0; first < cols; first += kChunk, digits += 2 * kChunk) {
    const i64 n = cols - first < kChunk ? cols - first : kChunk;
    const float s = *scale++ = quantise<kChunk>(x + first, n, q);
    for (int k = 0; k < Planes<B>::kCount; ++k)
      for (int i = 0; i < kBytes; ++i) {
        const std::int32_t v = q[Planes<B>::column(k, i)];
        digits[(2 * k) * kBytes + i] = i8((v + 128) >> 8);
        digits[(2 * k + 1) * kBytes + i] = i8(v);
      }
    for (i64 j = 0; j < n;) {
      const i64 g = (first + j) / group, stop = (g + 1) * group - first < n ? (g + 1) * group - first : n;
      std::int32_t sum = 0;
      for (; j < stop; ++j) sum += q[j];
      group_sum[g] += s * float(sum);
    }
  }
}

void split_digits(const float* x, i64 ldx, int T, i64 cols, i64 group, int bits, const DigitRows& d) {
  const i64 chunk = digit_chunk(bits), chunks = (cols + chunk - 1) / chunk,
            sums = padded_groups((cols + group - 1) / group);
  for (i64 t = 0; t < T; ++t) {
    const auto row = [&](auto split) {
      split(x + t * ldx, cols, group, d.digits + t * 2 * chunks * chunk, d.scale + t * chunks, d.group_sum + t * sums);
    };
    switch (bits) {
      case kSparseOrder: row(split_digits_row<kSparseOrder>); break;
      case 2: row(split_digits_row<2>); break;
      case 3: row(split_digits_row<3>); break;
      case 4: row(split_digits_row<4>); break;
      default: row(split_digits_row<8>); break;
    }
  }
}

// The scales of a chunk's lanes: one for all, or of several groups of which each has whole lanes.
template <int B, bool kLanewise>
struct LaneScales {
  i64 step = 1;  // chunks in a group, or kLanewise: groups in a chunk
  VI group_of_lane = {};
  LaneScales(const PackedRows& w, i64 chunks) {
    if constexpr (kLanewise) {
      step = kChunkCodes<B> / w.group;
      for (int i = 0; i < kLanes; ++i) group_of_lane[i] = std::int32_t(Planes<B>::column(0, 4 * i) / w.group);
    } else {
      step = w.groups == 1 ? chunks : w.group / kChunkCodes<B>;
    }
  }
  VF operator()(const float* scale) const {  // from the chunk's first group on
    if constexpr (!kLanewise) return all(*scale);
#if SINTER_LANES == 16
    return (VF)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)group_of_lane, (__m512)load(scale));
#elif SINTER_LANES == 8
    return (VF)_mm256_permutevar8x32_ps((__m256)load(scale), (__m256i)group_of_lane);
#else
    return all(*scale);
#endif
  }
};

// Σ_g s_g·zero_g·(Σ_{j in g} x_j), spread over the lanes.
inline VF grid_shift(const float* scale, const u8* zero, const float* sum, i64 groups) {
  typedef u8 Zeros __attribute__((vector_size(SINTER_LANES), aligned(1), may_alias));
  VF lanes = {};
  for (i64 g = 0; g < groups; g += kLanes)
    lanes += load(scale + g) * __builtin_convertvector(*reinterpret_cast<const Zeros*>(zero + g), VF) * load(sum + g);
  return lanes;
}

// RR rows of codes with TT rows of x.
template <int B, bool kLanewise, int TT, int RR>
inline void digit_block(const DigitRows& x, i64 chunks, const PackedRows& w, i64 r, float* y, i64 ldy) {
  constexpr int P = Planes<B>::kCount, kChunk = kChunkCodes<B>, kStep = Planes<B>::kChunkBytes;
  const i64 sums = padded_groups(w.groups);
  const LaneScales<B, kLanewise> lanes(w, chunks);
  const float* scales = w.scale + r * w.groups;
  VF total[RR][TT] = {};
  const auto chunk = [&](i64 c, i64 g, const u8* codes, i64 stride, i64 ahead) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int i = 0; i < RR; ++i) {
      VB plane[P];
      fetch_later(codes + i * stride + ahead);
      Planes<B>::split(codes + i * stride, plane);
      const VF scale = lanes(scales + i * w.groups + g);
#pragma GCC unroll 4
      for (int t = 0; t < TT; ++t) {
        const i8* digits = x.digits + (t * chunks + c) * 2 * kChunk;
        VI high = {}, low = {};
#pragma GCC unroll 4
        for (int k = 0; k < P; ++k) {
          high = add_products(high, plane[k], load_bytes(digits + 2 * k * kBytes));
          low = add_products(low, plane[k], load_bytes(digits + (2 * k + 1) * kBytes));
        }
        total[i][t] += __builtin_convertvector((high << 8) + low, VF) * x.scale[t * chunks + c] * scale;
      }
    }
  };
  const u8* codes = w.codes + r * w.row_bytes;
  fetch_rows(scales + kBlockRows * w.groups, RR * w.groups);
  fetch_rows(w.zero + (r + kBlockRows) * w.groups, RR * w.groups);
  const i64 whole = w.row_bytes / kStep;
  const auto at = [&](i64 c, i64 g) { chunk(c, g, codes + c * kStep, w.row_bytes, kBlockRows * w.row_bytes); };
  if constexpr (kLanewise) {
    for (i64 c = 0; c < whole; ++c) at(c, c * lanes.step);
  } else {
    for (i64 c = 0, g = 0; c < whole; ++g)
      for (i64 k = 0; k < lanes.step && c < whole; ++k, ++c) at(c, g);
  }
  if (whole < chunks) {
    u8 rest[RR][kBytes] = {};
    for (int i = 0; i < RR; ++i)
      __builtin_memcpy(rest[i], codes + i * w.row_bytes + whole * kStep, std::size_t(w.row_bytes - whole * kStep));
    chunk(whole, kLanewise ? whole * lanes.step : whole / lanes.step, rest[0], kBytes, 0);
  }
#pragma GCC unroll 8
  for (int i = 0; i < RR; ++i)
#pragma GCC unroll 4
    for (int t = 0; t < TT; ++t) {
      const i64 at = (r + i) * w.groups;
      const VF shift = grid_shift(w.scale + at, w.zero + at, x.group_sum + t * sums, w.groups);
      y[t * ldy + r + i] = lane_sum(total[i][t] - shift);
    }
}

template <int B, bool kLanewise>
inline void dot_digits_bits(const DigitRows& x, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  const i64 chunks = (w.cols + kChunkCodes<B> - 1) / kChunkCodes<B>;
  each_block(R, T, [&]<int RR, int TT>(Const<RR>, Const<TT>, i64 r, int t) {
    const DigitRows part{x.digits + t * 2 * chunks * kChunkCodes<B>, x.scale + t * chunks,
                         x.group_sum + t * padded_groups(w.groups)};
    digit_block<B, kLanewise, TT, RR>(part, chunks, w, r, y + t * ldy, ldy);
  });
}

template <int B>
inline void dot_digits_width(const DigitRows& x, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  if constexpr (Planes<B>::kHere) {
    if (w.groups == 1 || w.group % kChunkCodes<B> == 0) dot_digits_bits<B, false>(x, T, w, R, y, ldy);
    else dot_digits_bits<B, true>(x, T, w, R, y, ldy);
  }
}
void dot_digits(const DigitRows& x, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  switch (w.bits) {
    case 2: return dot_digits_width<2>(x, T, w, R, y, ldy);
    case 3: return dot_digits_width<3>(x, T, w, R, y, ldy);
    case 4: return dot_digits_width<4>(x, T, w, R, y, ldy);
    default: return dot_digits_width<8>(x, T, w, R, y, ldy);
  }
}
