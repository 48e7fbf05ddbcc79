// The product of two small packed matrices that lie in cache: the inner loop of attention. Included after vector.inl.

constexpr int kTileRows = kLanes == 16 ? 8 : 4;  // of sums held in registers, two vectors wide

// c[kTileRows, N·lanes] (+)= a · b, the whole c in registers.
template <int N>
inline void tile_block(i64 k, const float* a, i64 rs, i64 cs, const float* b, i64 ldb, float* c, i64 ldc, bool add) {
  VF s[kTileRows][N] = {};
  if (add)
    for (int i = 0; i < kTileRows; ++i)
      for (int j = 0; j < N; ++j) s[i][j] = load(c + i * ldc + j * kLanes);
  for (i64 p = 0; p < k; ++p) {
    VF row[N];
    for (int j = 0; j < N; ++j) row[j] = load(b + p * ldb + j * kLanes);
    for (int i = 0; i < kTileRows; ++i) {
      const float x = a[i * rs + p * cs];
      for (int j = 0; j < N; ++j) s[i][j] += x * row[j];
    }
  }
  for (int i = 0; i < kTileRows; ++i)
    for (int j = 0; j < N; ++j) store(c + i * ldc + j * kLanes, s[i][j]);
}

// Panels of b outermost: each stays in the first-level cache while the rows of a pass by.
void tile_product(i64 m, i64 n, i64 k, const float* a, i64 rs, i64 cs, const float* b, i64 ldb, float* c, i64 ldc,
                  bool add) {
  i64 j = 0;
  for (; j + 2 * kLanes <= n; j += 2 * kLanes)
    for (i64 i = 0; i < m; i += kTileRows) tile_block<2>(k, a + i * rs, rs, cs, b + j, ldb, c + i * ldc + j, ldc, add);
  for (; j < n; j += kLanes)
    for (i64 i = 0; i < m; i += kTileRows) tile_block<1>(k, a + i * rs, rs, cs, b + j, ldb, c + i * ldc + j, ldc, add);
}
