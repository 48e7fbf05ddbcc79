// Codes of 2, 3, 4 and 8 bits: unpacking, and products on what is unpacked in registers.

// kLanes codes from a byte boundary, as integers. At most 16 bytes are read.
#if SINTER_LANES > 4
constexpr i64 kCodeBytes = 16;
constexpr bool kVectorCodes = true;
template <int B>
inline VI codes(const u8* p) {
  u8 pick[4 * kLanes];  // the two bytes that hold code i, brought into lane i
  VI shift;
  for (int i = 0; i < kLanes; ++i) {
    pick[4 * i] = u8(B * i / 8);
    pick[4 * i + 1] = B * i / 8 + 1 < 16 ? u8(B * i / 8 + 1) : u8(0x80);
    pick[4 * i + 2] = pick[4 * i + 3] = 0x80;
    shift[i] = B * i % 8;
  }
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
#if SINTER_LANES == 16
  if constexpr (B == 8) return (VI)_mm512_maskz_cvtepu8_epi32(0xffff, bytes);
  const VI pairs = (VI)_mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xffff, bytes), _mm512_loadu_si512(pick));
#else
  if constexpr (B == 8) return (VI)_mm256_cvtepu8_epi32(bytes);
  const auto* picks = reinterpret_cast<const __m256i_u*>(pick);
  const VI pairs = (VI)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), _mm256_loadu_si256(picks));
#endif
  return pairs >> shift & ((1 << B) - 1);
}
#else  // four codes of three bits end inside a byte
constexpr i64 kCodeBytes = 16;
constexpr bool kVectorCodes = false;
template <int B>
inline VI codes(const u8*) {
  return VI{};
}
#endif

inline int code_at(const u8* stream, i64 j, int bits) {
  const i64 at = j * bits;
  const int low = stream[at / 8] >> at % 8, have = int(8 - at % 8);
  return (have >= bits ? low : low | stream[at / 8 + 1] << have) & ((1 << bits) - 1);
}

// Codes first .. first + n of a stream: vector(j, p) for kLanes codes that begin at byte p, element(j) for the others.
template <int B, class V, class E>
inline void each_code(const u8* stream, const u8* end, i64 first, i64 n, V vector, E element) {
  i64 j = 0;
  if constexpr (kVectorCodes) {
    const i64 head = (8 - first % 8) % 8;  // 8 codes end on a byte boundary, whatever their width
    for (; j < head && j < n; ++j) element(j);
    const u8* p = stream + (first + j) * B / 8;
    const u8* last = end - kCodeBytes;
    for (; j + kLanes <= n && p <= last; j += kLanes, p += kLanes * B / 8) vector(j, p);
  }
  for (; j < n; ++j) element(j);
}

template <int B>
inline void unpack_bits(float* y, const u8* stream, const u8* end, i64 first, i64 n, float scale, float zero) {
  each_code<B>(
      stream, end, first, n,
      [&](i64 j, const u8* p) { store(y + j, scale * (__builtin_convertvector(codes<B>(p), VF) - zero)); },
      [&](i64 j) { y[j] = scale * (float(code_at(stream, first + j, B)) - zero); });
}

void unpack(float* y, const u8* stream, const u8* end, i64 first, i64 n, int bits, float scale, float zero) {
  switch (bits) {
    case 2: return unpack_bits<2>(y, stream, end, first, n, scale, zero);
    case 3: return unpack_bits<3>(y, stream, end, first, n, scale, zero);
    case 4: return unpack_bits<4>(y, stream, end, first, n, scale, zero);
    default: return unpack_bits<8>(y, stream, end, first, n, scale, zero);
  }
}

// y_tr = Σ_g scale_rg·Σ_{j in g} x_tj·(code_rj − zero_rg): the difference is exact, the scale enters once for each group.
// RR rows pass together, so that their sums do not wait for one another; bytes per weight: bits / 8 + 5 / group.
template <int B, int TT, int RR>
inline void dot_packed_block(const float* x, i64 ldx, const PackedRows& w, i64 r, float* y, i64 ldy) {
  const u8* stream = w.codes + r * w.row_bytes;
  const float* scale = w.scale + r * w.groups;
  const u8* zero = w.zero + r * w.groups;
  fetch_rows(scale + kBlockRows * w.groups, RR * w.groups);
  fetch_rows(zero + kBlockRows * w.groups, RR * w.groups);
  VF total[RR][TT] = {};
  float rest[RR][TT] = {};
  for (i64 g = 0; g < w.groups; ++g) {
    const i64 first = g * w.group, n = w.cols - first < w.group ? w.cols - first : w.group;
    VF sum[RR][TT] = {};
    each_code<B>(
        stream, w.end - (RR - 1) * w.row_bytes, first, n,
        [&](i64 j, const u8* p) __attribute__((always_inline)) {
          VF a[TT];
#pragma GCC unroll 4
          for (int t = 0; t < TT; ++t) a[t] = load(x + t * ldx + first + j);
#pragma GCC unroll 4
          for (int i = 0; i < RR; ++i) {
            fetch_later(p + (i + kBlockRows) * w.row_bytes);
            const std::int32_t z = zero[i * w.groups + g];
            const VF b = __builtin_convertvector(codes<B>(p + i * w.row_bytes) - z, VF);
#pragma GCC unroll 4
            for (int t = 0; t < TT; ++t) sum[i][t] += a[t] * b;
          }
        },
        [&](i64 j) {
          for (int i = 0; i < RR; ++i) {
            const i64 at = i * w.groups + g;
            const float b = scale[at] * float(code_at(stream + i * w.row_bytes, first + j, B) - zero[at]);
            for (int t = 0; t < TT; ++t) rest[i][t] += x[t * ldx + first + j] * b;
          }
        });
#pragma GCC unroll 4
    for (int i = 0; i < RR; ++i)
#pragma GCC unroll 4
      for (int t = 0; t < TT; ++t) total[i][t] += scale[i * w.groups + g] * sum[i][t];
  }
#pragma GCC unroll 4
  for (int i = 0; i < RR; ++i)
#pragma GCC unroll 4
    for (int t = 0; t < TT; ++t) y[t * ldy + r + i] = lane_sum(total[i][t]) + rest[i][t];
}

template <int B>
inline void dot_packed_bits(const float* x, i64 ldx, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  each_block(R, T, [&]<int RR, int TT>(Const<RR>, Const<TT>, i64 r, int t) {
    constexpr int kRows = TT == 4 && RR > 1 ? RR / 2 : RR;  // what the registers hold
    for (int i = 0; i < RR; i += kRows) dot_packed_block<B, TT, kRows>(x + t * ldx, ldx, w, r + i, y + t * ldy, ldy);
  });
}

void dot_packed(const float* x, i64 ldx, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  switch (w.bits) {
    case 2: return dot_packed_bits<2>(x, ldx, T, w, R, y, ldy);
    case 3: return dot_packed_bits<3>(x, ldx, T, w, R, y, ldy);
    case 4: return dot_packed_bits<4>(x, ldx, T, w, R, y, ldy);
    default: return dot_packed_bits<8>(x, ldx, T, w, R, y, ldy);
  }
}
