// Kept values to their columns, by a bit mask.

// The first values of v to the lanes whose bit is set, 0 to the others.
#if SINTER_LANES == 16
constexpr bool kVectorExpand = true;
inline unsigned lane_bits(const u8* mask) { return unsigned(mask[0]) | unsigned(mask[1]) << 8; }
inline VF spread(VF v, unsigned bits) {
  return (VF)_mm512_mask_expand_ps((__m512)fresh_zero(), __mmask16(bits), (__m512)v);
}
#elif SINTER_LANES == 8
constexpr bool kVectorExpand = true;
struct LaneTable {
  u8 source[256][8];  // for each mask and lane: the place of its value, or 0x80
};
constexpr LaneTable kLaneTable = [] {
  LaneTable t{};
  for (int bits = 0; bits < 256; ++bits)
    for (int lane = 0, next = 0; lane < 8; ++lane) t.source[bits][lane] = bits >> lane & 1 ? u8(next++) : u8(0x80);
  return t;
}();
inline unsigned lane_bits(const u8* mask) { return mask[0]; }
inline VF spread(VF v, unsigned bits) {
  const __m128i row = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLaneTable.source[bits]));
  const VI source = (VI)_mm256_cvtepu8_epi32(row);
  const VF moved = (VF)_mm256_permutevar8x32_ps((__m256)v, (__m256i)source);
  return (VF)((VI)moved & (source < 8));
}
#else  // without a permutation by variable places
constexpr bool kVectorExpand = false;
inline unsigned lane_bits(const u8*) { return 0; }
inline VF spread(VF, unsigned) { return VF{}; }
#endif

// y_j = f(the next value) where column first + j has one, else 0; f takes a vector or an element.
template <class S, class F>
inline const typename S::Type* expand(float* y, const u8* mask, i64 first, i64 n, const typename S::Type* v,
                                      const typename S::Type* end, F f) {
  i64 j = 0;
  const auto element = [&] {
    const i64 at = first + j;
    y[j] = mask[at / 8] >> at % 8 & 1 ? f(S::one(*v++)) : 0.f;
  };
  if constexpr (kVectorExpand) {
    for (; j < n && (first + j) % 8 != 0; ++j) element();
    for (; j + kLanes <= n && end - v >= kLanes; j += kLanes) {
      const unsigned bits = lane_bits(mask + (first + j) / 8);
      store(y + j, spread(f(S::vector(v)), bits));
      v += __builtin_popcount(bits);
    }
  }
  for (; j < n; ++j) element();
  return v;
}

template <class S>
const typename S::Type* expand_stored(float* y, const u8* mask, i64 first, i64 n, const typename S::Type* values,
                                      const typename S::Type* end) {
  return expand<S>(y, mask, first, n, values, end, [](auto v) { return v; });
}

const float* expand_grid(float* y, const u8* mask, i64 first, i64 n, const float* codes, const float* end, float scale,
                         float zero) {
  return expand<StoredF32>(y, mask, first, n, codes, end, [=](auto v) { return scale * (v - zero); });
}

i64 count_bits(const u8* mask, i64 n) {
  i64 count = 0, j = 0;
  for (; j + 64 <= n; j += 64) {
    std::uint64_t word;
    __builtin_memcpy(&word, mask + j / 8, 8);
    count += __builtin_popcountll(word);
  }
  for (; j + 8 <= n; j += 8) count += __builtin_popcount(mask[j / 8]);
  if (j < n) count += __builtin_popcount(mask[j / 8] & ((1u << (n - j)) - 1));
  return count;
}
