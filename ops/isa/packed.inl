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

// y_t = Σ_g scale_g·Σ_{j in g} x_tj·(code_j − zero_g): the difference is exact, the scale enters once for each group.
template <int B, int TT>
inline void dot_packed_row(const float* x, i64 ldx, const PackedRows& w, i64 r, float* y, i64 ldy) {
  const u8* stream = w.codes + r * w.row_bytes;
  VF total[TT] = {};
  float rest[TT] = {};
  for (i64 g = 0; g < w.groups; ++g) {
    const i64 first = g * w.group, n = w.cols - first < w.group ? w.cols - first : w.group;
    const float scale = w.scale[r * w.groups + g];
    const std::int32_t zero = w.zero[r * w.groups + g];
    VF sum[TT] = {};
    each_code<B>(
        stream, w.end, first, n,
        [&](i64 j, const u8* p) {
          const VF b = __builtin_convertvector(codes<B>(p) - zero, VF);
          for (int t = 0; t < TT; ++t) sum[t] += load(x + t * ldx + first + j) * b;
        },
        [&](i64 j) {
          const float b = scale * float(code_at(stream, first + j, B) - zero);
          for (int t = 0; t < TT; ++t) rest[t] += x[t * ldx + first + j] * b;
        });
    for (int t = 0; t < TT; ++t) total[t] += scale * sum[t];
  }
  for (int t = 0; t < TT; ++t) y[t * ldy + r] = lane_sum(total[t]) + rest[t];
}

template <int B>
inline void dot_packed_bits(const float* x, i64 ldx, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  for (i64 r = 0; r < R; ++r)
    for (int t = 0; t < T; t += 4) {
      const float* a = x + t * ldx;
      float* out = y + t * ldy;
      switch (T - t) {
        case 1: dot_packed_row<B, 1>(a, ldx, w, r, out, ldy); break;
        case 2: dot_packed_row<B, 2>(a, ldx, w, r, out, ldy); break;
        case 3: dot_packed_row<B, 3>(a, ldx, w, r, out, ldy); break;
        default: dot_packed_row<B, 4>(a, ldx, w, r, out, ldy); break;
      }
    }
}

void dot_packed(const float* x, i64 ldx, int T, const PackedRows& w, i64 R, float* y, i64 ldy) {
  switch (w.bits) {
    case 2: return dot_packed_bits<2>(x, ldx, T, w, R, y, ldy);
    case 3: return dot_packed_bits<3>(x, ldx, T, w, R, y, ldy);
    case 4: return dot_packed_bits<4>(x, ldx, T, w, R, y, ldy);
    default: return dot_packed_bits<8>(x, ldx, T, w, R, y, ldy);
  }
}
