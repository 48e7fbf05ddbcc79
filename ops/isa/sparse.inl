// Products with rows of which only some weights are stored. Included after expand.inl and digits.inl.
//
//   y_tr = Σ_{j kept in row r} x_tj·w_rj
//
// The values go to their columns in registers (a permutation steered by the bits of the mask) and meet x there; rows
// without values, and columns behind the last, give zeros. kBlockRows rows pass at once, each with two streams of
// memory, mask and values, which are asked for kBlockRows rows ahead.
// Bytes per column: 1/8 + kept·(bytes of a value), for 2:4 in bf16 1.125 instead of 2; with codes 1/8 + kept·bits/8 + 5/group.

// kCols columns: the kVectors vectors of x, and the weights at their places.
template <class S>
struct SparseUnit {
  using T = typename S::Type;
#if SINTER_LANES > 4
  static constexpr int kCols = kLanes, kVectors = 1;
  static int weights(const u8* mask, const T* values, VF* w) {
    const unsigned bits = lane_bits(mask);
    w[0] = spread(S::vector(values), bits);
    return __builtin_popcount(bits);
  }
#else
  static constexpr int kCols = 8, kVectors = 2;
  static int weights(const u8* mask, const T* values, VF* w) {
    float at[8];
    int k = 0;
    for (int j = 0; j < 8; ++j) at[j] = *mask >> j & 1 ? S::one(values[k++]) : 0.f;
    w[0] = load(at), w[1] = load(at + 4);
    return k;
  }
#endif
  static void operand(const float* x, VF* a) {
    for (int k = 0; k < kVectors; ++k) a[k] = load(x + k * kLanes);
  }
};

#if defined(__AVX512VBMI2__)
// 32 halves are moved at once. A pair of bf16 in a lane is two f32 by a shift and a mask: even and odd columns.
inline std::uint32_t mask_word(const u8* mask) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, mask, sizeof bits);
  return bits;
}
template <>
struct SparseUnit<StoredBf16> {
  static constexpr int kCols = 32, kVectors = 2;
  static int weights(const u8* mask, const u16* values, VF* w) {
    const std::uint32_t bits = mask_word(mask);
    const VU pairs = (VU)_mm512_mask_expand_epi16(fresh_zero(), bits, _mm512_loadu_si512(values));
    w[0] = (VF)(pairs << 16), w[1] = (VF)(pairs & 0xffff0000u);
    return __builtin_popcount(bits);
  }
  static void operand(const float* x, VF* a) {
    VI even;
    for (int i = 0; i < 16; ++i) even[i] = 2 * i;
    for (int k = 0; k < 2; ++k)
      a[k] = (VF)_mm512_permutex2var_ps((__m512)load(x), (__m512i)(even + k), (__m512)load(x + 16));
  }
};
template <>
struct SparseUnit<StoredF16> {
  static constexpr int kCols = 32, kVectors = 2;
  static int weights(const u8* mask, const u16* values, VF* w) {
    const std::uint32_t bits = mask_word(mask);
    const __m512i halves = _mm512_mask_expand_epi16(fresh_zero(), bits, _mm512_loadu_si512(values));
    w[0] = (VF)_mm512_maskz_cvtph_ps(0xffff, _mm512_maskz_extracti64x4_epi64(0xff, halves, 0));
    w[1] = (VF)_mm512_maskz_cvtph_ps(0xffff, _mm512_maskz_extracti64x4_epi64(0xff, halves, 1));
    return __builtin_popcount(bits);
  }
  static void operand(const float* x, VF* a) { a[0] = load(x), a[1] = load(x + 16); }
};
#endif

// How far behind a row's next value stands that of the row kBlockRows on.
inline i64 rows_ahead(const SparseRows& w, i64 r) {
  return w.begin[r + kBlockRows < w.rows ? r + kBlockRows : w.rows] - w.begin[r];
}

template <class S, int TT, int RR>
inline void sparse_block(const float* x, i64 ldx, const SparseRows& w, const typename S::Type* values, i64 r, float* y,
                         i64 ldy) {
  using U = SparseUnit<S>;
  const typename S::Type* v[RR];
  i64 ahead[RR];
#pragma GCC unroll 4
  for (int i = 0; i < RR; ++i) {
    v[i] = values + w.begin[r + i];
    ahead[i] = rows_ahead(w, r + i);
  }
  fetch_rows(w.mask + (r + kBlockRows) * w.mask_bytes, RR * w.mask_bytes);
  VF sum[RR][TT] = {};
  const auto unit = [&](const float* a, i64 lda, const u8* mask, i64 stride) __attribute__((always_inline)) {
    VF xs[TT][U::kVectors];
#pragma GCC unroll 4
    for (int t = 0; t < TT; ++t) U::operand(a + t * lda, xs[t]);
#pragma GCC unroll 4
    for (int i = 0; i < RR; ++i) {
      VF ws[U::kVectors];
      fetch_later(v[i] + ahead[i]);
      v[i] += U::weights(mask + i * stride, v[i], ws);
#pragma GCC unroll 4
      for (int t = 0; t < TT; ++t)
#pragma GCC unroll 2
        for (int k = 0; k < U::kVectors; ++k) sum[i][t] += xs[t][k] * ws[k];
    }
  };
  const u8* mask = w.mask + r * w.mask_bytes;
  i64 j = 0;
  for (; j + U::kCols <= w.cols; j += U::kCols) unit(x + j, ldx, mask + j / 8, w.mask_bytes);
  if (j < w.cols) {
    float a[TT][U::kCols] = {};
    u8 bits[RR][U::kCols / 8] = {};
    for (int t = 0; t < TT; ++t)
      for (i64 i = j; i < w.cols; ++i) a[t][i - j] = x[t * ldx + i];
    for (int i = 0; i < RR; ++i)
      for (i64 b = j / 8; b < w.mask_bytes; ++b) bits[i][b - j / 8] = mask[i * w.mask_bytes + b];
    unit(a[0], U::kCols, bits[0], U::kCols / 8);
  }
#pragma GCC unroll 4
  for (int i = 0; i < RR; ++i)
#pragma GCC unroll 4
    for (int t = 0; t < TT; ++t) y[t * ldy + r + i] = lane_sum(sum[i][t]);
}

template <class S>
void dot_sparse(const float* x, i64 ldx, int T, const SparseRows& w, const typename S::Type* values, float* y,
                i64 ldy) {
  each_block(w.rows, T, [&]<int RR, int TT>(Const<RR>, Const<TT>, i64 r, int t) {
    sparse_block<S, TT, RR>(x + t * ldx, ldx, w, values, r, y + t * ldy, ldy);
  });
}

// Codes with the digits of x (digits.inl; two planes of 64 columns each). A weight that is not kept stands there with the
// code of its group's zero, so that the zero of the grid is subtracted for all columns alike.
#if defined(__AVX512VBMI2__) && defined(__AVX512VNNI__)
// Codes first .. first + 64 of a stream, one in each byte.
template <int B>
struct CodeBytes {
  struct Places {
    alignas(64) u8 from[64];
    alignas(64) u8 bit[8][64];
  };
  static constexpr Places kPlaces = [] {
    Places p{};
    for (int i = 0; i < 64; ++i) {
      p.from[i] = u8(B * (i / 8) + i % 8);
      for (int s = 0; s < 8; ++s) p.bit[s][i] = u8(s + B * (i % 8));
    }
    return p;
  }();
  static __m512i read(const u8* stream, std::uint64_t first) {
    const __m512i packed = _mm512_loadu_si512(stream + first * B / 8);
    if constexpr (B == 8) return packed;
    const __m512i lanes = _mm512_maskz_permutexvar_epi8(~0ull, _mm512_load_si512(kPlaces.from), packed);
    const __m512i bits = _mm512_load_si512(kPlaces.bit[first * B % 8]);
    return _mm512_and_si512(_mm512_maskz_multishift_epi64_epi8(~0ull, bits, lanes), (__m512i)(VB{} + u8((1 << B) - 1)));
  }
};

template <int B, int TT, int RR>
inline void sparse_digit_block(const DigitRows& x, const SparseRows& w, const PackedRows& grid, i64 r, float* y,
                               i64 ldy) {
  constexpr i64 kChunk = kChunkCodes<kSparseOrder>;
  const i64 chunks = (w.cols + kChunk - 1) / kChunk, sums = padded_groups(grid.groups);
  const float* scales = grid.scale + r * grid.groups;
  const u8 *zeros = grid.zero + r * grid.groups, *masks = w.mask + r * w.mask_bytes, *stream[RR];
  std::uint64_t next[RR] = {};
  i64 ahead[RR];
#pragma GCC unroll 4
  for (int i = 0; i < RR; ++i) {
    stream[i] = grid.codes + w.begin[r + i];
    ahead[i] = rows_ahead(w, r + i);
  }
  fetch_rows(masks + kBlockRows * w.mask_bytes, RR * w.mask_bytes);
  fetch_rows(scales + kBlockRows * grid.groups, RR * grid.groups);
  fetch_rows(zeros + kBlockRows * grid.groups, RR * grid.groups);
  VF total[RR][TT] = {};
  const auto chunk = [&](i64 c, i64 g, const u8* mask, i64 stride) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int i = 0; i < RR; ++i) {
      fetch_later(stream[i] + next[i] * B / 8 + ahead[i]);
      const __m512i absent = _mm512_set1_epi8(char(zeros[i * grid.groups + g]));
      VB code[2];
#pragma GCC unroll 2
      for (int k = 0; k < 2; ++k) {
        std::uint64_t kept;
        __builtin_memcpy(&kept, mask + i * stride + 8 * k, 8);
        code[k] = (VB)_mm512_mask_expand_epi8(absent, kept, CodeBytes<B>::read(stream[i], next[i]));
        next[i] += std::uint64_t(__builtin_popcountll(kept));
      }
      const float scale = scales[i * grid.groups + g];
#pragma GCC unroll 4
      for (int t = 0; t < TT; ++t) {
        const i8* digits = x.digits + (t * chunks + c) * 2 * kChunk;
        VI high = {}, low = {};
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
          high = add_products(high, code[k], load_bytes(digits + 2 * k * kBytes));
          low = add_products(low, code[k], load_bytes(digits + (2 * k + 1) * kBytes));
        }
        total[i][t] += __builtin_convertvector((high << 8) + low, VF) * x.scale[t * chunks + c] * scale;
      }
    }
  };
  const i64 whole = w.cols / kChunk, step = grid.groups == 1 ? chunks : grid.group / kChunk;
  i64 c = 0, g = 0;
  for (; c < whole; ++g)
    for (i64 k = 0; k < step && c < whole; ++k, ++c) chunk(c, g, masks + c * 16, w.mask_bytes);
  if (whole < chunks) {
    u8 rest[RR][16] = {};
    for (int i = 0; i < RR; ++i)
      for (i64 b = whole * 16; b < w.mask_bytes; ++b) rest[i][b - whole * 16] = masks[i * w.mask_bytes + b];
    chunk(whole, whole / step, rest[0], 16);
  }
#pragma GCC unroll 4
  for (int i = 0; i < RR; ++i)
#pragma GCC unroll 4
    for (int t = 0; t < TT; ++t) {
      const i64 at = i * grid.groups;
      const VF shift = grid_shift(scales + at, zeros + at, x.group_sum + t * sums, grid.groups);
      y[t * ldy + r + i] = lane_sum(total[i][t] - shift);
    }
}

template <int B>
inline void dot_sparse_bits(const DigitRows& x, int T, const SparseRows& w, const PackedRows& grid, float* y, i64 ldy) {
  constexpr i64 kChunk = kChunkCodes<kSparseOrder>;
  const i64 chunks = (w.cols + kChunk - 1) / kChunk, sums = padded_groups(grid.groups);
  each_block(w.rows, T, [&]<int RR, int TT>(Const<RR>, Const<TT>, i64 r, int t) {
    const DigitRows part{x.digits + t * chunks * 2 * kChunk, x.scale + t * chunks, x.group_sum + t * sums};
    sparse_digit_block<B, TT, RR>(part, w, grid, r, y + t * ldy, ldy);
  });
}
void dot_sparse_digits(const DigitRows& x, int T, const SparseRows& w, const PackedRows& grid, float* y, i64 ldy) {
  switch (grid.bits) {
    case 2: return dot_sparse_bits<2>(x, T, w, grid, y, ldy);
    case 3: return dot_sparse_bits<3>(x, T, w, grid, y, ldy);
    case 4: return dot_sparse_bits<4>(x, T, w, grid, y, ldy);
    default: return dot_sparse_bits<8>(x, T, w, grid, y, ldy);
  }
}
constexpr auto kDotSparseDigits = dot_sparse_digits;
#else
constexpr decltype(CpuKernels::dot_sparse_digits) kDotSparseDigits = nullptr;
#endif
