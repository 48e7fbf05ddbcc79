// The kernels of ops/isa/kernels.h, written once over the vectors of vector.inl.

// One block: TT rows of x against RR rows of w, each row of w a stream of its own.
template <class S, int TT, int RR>
inline void dot_block(const float* x, i64 ldx, const typename S::Type* w, i64 ldw, i64 k, float* y, i64 ldy) {
  VF sum[TT][RR] = {};
  i64 j = 0;
  for (; j + kLanes <= k; j += kLanes) {
    VF a[TT];
    for (int t = 0; t < TT; ++t) a[t] = load(x + t * ldx + j);
    for (int r = 0; r < RR; ++r) {
      const VF b = S::vector(w + r * ldw + j);
      for (int t = 0; t < TT; ++t) sum[t][r] += a[t] * b;
    }
  }
  for (int t = 0; t < TT; ++t)
    for (int r = 0; r < RR; ++r) {
      float s = lane_sum(sum[t][r]);
      for (i64 i = j; i < k; ++i) s += x[t * ldx + i] * S::one(w[r * ldw + i]);
      y[t * ldy + r] = s;
    }
}

// Accumulators stay in registers: 16 of 32 with AVX-512, 8 of 16 otherwise.
constexpr int kDotRows = kLanes == 16 ? 8 : 4;

template <class S, int TT>
inline void dot_strip(const float* x, i64 ldx, const typename S::Type* w, i64 ldw, i64 R, i64 k, float* y, i64 ldy) {
  constexpr int kRR = TT > 2 ? kDotRows / 2 : kDotRows;
  i64 r = 0;
  for (; r + kRR <= R; r += kRR) dot_block<S, TT, kRR>(x, ldx, w + r * ldw, ldw, k, y + r, ldy);
  for (; r < R; ++r) dot_block<S, TT, 1>(x, ldx, w + r * ldw, ldw, k, y + r, ldy);
}

// The rows of w pass through cache once, in strips small enough to stay there while the groups of x go by.
template <class S>
void dot_rows(const float* x, i64 ldx, int T, const typename S::Type* w, i64 ldw, i64 R, i64 k, float* y, i64 ldy) {
  for (i64 r = 0; r < R; r += kDotRows) {
    const i64 rows = R - r < kDotRows ? R - r : kDotRows;
    const auto* strip = w + r * ldw;
    for (int t = 0; t < T; t += 4) {
      const float* a = x + t * ldx;
      float* out = y + t * ldy + r;
      switch (T - t) {
        case 1: dot_strip<S, 1>(a, ldx, strip, ldw, rows, k, out, ldy); break;
        case 2: dot_strip<S, 2>(a, ldx, strip, ldw, rows, k, out, ldy); break;
        case 3: dot_strip<S, 3>(a, ldx, strip, ldw, rows, k, out, ldy); break;
        default: dot_strip<S, 4>(a, ldx, strip, ldw, rows, k, out, ldy); break;
      }
    }
  }
}

// y[t] += Σ_r a[t, r]·w[r] for RR rows of w, each a stream of its own; y stays in cache.
template <class S, int TT, int RR>
inline void add_block(const float* a, i64 lda, const typename S::Type* w, i64 ldw, i64 n, float* y, i64 ldy) {
  i64 j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    VF sum[TT];
    for (int t = 0; t < TT; ++t) sum[t] = load(y + t * ldy + j);
    for (int r = 0; r < RR; ++r) {
      const VF b = S::vector(w + r * ldw + j);
      for (int t = 0; t < TT; ++t) sum[t] += a[t * lda + r] * b;
    }
    for (int t = 0; t < TT; ++t) store(y + t * ldy + j, sum[t]);
  }
  for (; j < n; ++j)
    for (int t = 0; t < TT; ++t)
      for (int r = 0; r < RR; ++r) y[t * ldy + j] += a[t * lda + r] * S::one(w[r * ldw + j]);
}

template <class S, int TT>
inline void add_strip(const float* a, i64 lda, const typename S::Type* w, i64 ldw, i64 R, i64 n, float* y, i64 ldy) {
  i64 r = 0;
  for (; r + 8 <= R; r += 8) add_block<S, TT, 8>(a + r, lda, w + r * ldw, ldw, n, y, ldy);
  for (; r < R; ++r) add_block<S, TT, 1>(a + r, lda, w + r * ldw, ldw, n, y, ldy);
}

template <class S>
void add_rows(const float* a, i64 lda, int T, const typename S::Type* w, i64 ldw, i64 R, i64 n, float* y, i64 ldy) {
  for (i64 r = 0; r < R; r += 8) {
    const i64 rows = R - r < 8 ? R - r : 8;
    const auto* strip = w + r * ldw;
    for (int t = 0; t < T; t += 4) {
      const float* factors = a + t * lda + r;
      float* out = y + t * ldy;
      switch (T - t) {
        case 1: add_strip<S, 1>(factors, lda, strip, ldw, rows, n, out, ldy); break;
        case 2: add_strip<S, 2>(factors, lda, strip, ldw, rows, n, out, ldy); break;
        case 3: add_strip<S, 3>(factors, lda, strip, ldw, rows, n, out, ldy); break;
        default: add_strip<S, 4>(factors, lda, strip, ldw, rows, n, out, ldy); break;
      }
    }
  }
}

template <class S>
void widen(float* y, const u16* x, i64 n) {
  i64 j = 0;
  for (; j + kLanes <= n; j += kLanes) store(y + j, S::vector(x + j));
  for (; j < n; ++j) y[j] = S::one(x[j]);
}

void round_bf16(float* y, const float* x, i64 n) {
  map(
      y, n,
      [](VF v) {
        const VU u = (VU)v;
        const VU near = (u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u, quiet = (u & 0xffff0000u) | 0x400000u;
        return (VF)((u & 0x7fffffffu) > 0x7f800000u ? quiet : near);
      },
      x);
}

void vexp(float* y, const float* x, i64 n) {
  map(
      y, n, [](VF v) { return exp(v); }, x);
}
void silu(float* y, const float* x, i64 n) {
  map(
      y, n, [](VF v) { return silu(v); }, x);
}
void swiglu(float* y, const float* gate, const float* up, i64 n) {
  map(
      y, n, [](VF g, VF u) { return silu(g) * u; }, gate, up);
}

// silu'(g) = σ·(1 + g·(1 − σ)); 1 − σ(g) = σ(−g)
inline VF silu_slope(VF g) {
  const VF bounded = g < -200.f ? all(-200.f) : g > 200.f ? all(200.f) : g;
  return sigmoid(bounded) * (1.f + bounded * sigmoid(-bounded));
}
void swiglu_vjp(float* dgate, float* dup, const float* gate, const float* up, const float* dy, i64 n) {
  constexpr i64 kPart = 256;  // both results of a part are formed before either is written
  float slope[kPart], value[kPart];
  for (i64 j = 0; j < n; j += kPart) {
    const i64 m = n - j < kPart ? n - j : kPart;
    map(
        slope, m, [](VF g, VF u, VF d) { return d * u * silu_slope(g); }, gate + j, up + j, dy + j);
    map(
        value, m, [](VF g, VF d) { return d * silu(g); }, gate + j, dy + j);
    for (i64 i = 0; i < m; ++i) dgate[j + i] = slope[i];
    for (i64 i = 0; i < m; ++i) dup[j + i] = value[i];
  }
}

float max(const float* x, i64 n) {
  float best = -__builtin_inff();
  i64 j = 0;
  if (n >= kLanes) {
    VF v = all(best);
    for (; j + kLanes <= n; j += kLanes) {
      const VF a = load(x + j);
      v = a > v ? a : v;
    }
    for (int i = 0; i < kLanes; ++i) best = v[i] > best ? v[i] : best;
  }
  for (; j < n; ++j) best = x[j] > best ? x[j] : best;
  return best;
}

// Σ_j f(j), four vectors of partial sums; f gives a vector or, for the rest, an element.
template <class V, class E>
inline float reduce(i64 n, V vector, E element) {
  VF s[4] = {};
  i64 j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes)
    for (int i = 0; i < 4; ++i) s[i] += vector(j + i * kLanes);
  for (; j + kLanes <= n; j += kLanes) s[0] += vector(j);
  float total = lane_sum((s[0] + s[1]) + (s[2] + s[3]));
  for (; j < n; ++j) total += element(j);
  return total;
}

float exp_sum(float* y, const float* x, float a, float shift, i64 n) {
  map(
      y, n, [=](VF v) { return exp(v * a - shift); }, x);
  return reduce(
      n, [=](i64 j) { return load(y + j); }, [=](i64 j) { return y[j]; });
}
float sum(const float* x, i64 n) {
  return reduce(
      n, [=](i64 j) { return load(x + j); }, [=](i64 j) { return x[j]; });
}
float dot(const float* x, const float* y, i64 n) {
  return reduce(
      n, [=](i64 j) { return load(x + j) * load(y + j); }, [=](i64 j) { return x[j] * y[j]; });
}
void axpy(float* y, float a, const float* x, i64 n) {
  map(
      y, n, [=](VF s, VF v) { return s + a * v; }, y, x);
}
void scale(float* y, float a, i64 n) {
  map(
      y, n, [=](VF v) { return v * a; }, y);
}
void add(float* y, const float* x, i64 n) {
  map(
      y, n, [](VF s, VF v) { return s + v; }, y, x);
}
void mul(float* y, const float* a, const float* b, i64 n) {
  map(
      y, n, [](VF s, VF v) { return s * v; }, a, b);
}

constexpr CpuKernels table(const char* name) {
  return {.name = name,
          .dot_rows_f32 = dot_rows<StoredF32>,
          .dot_rows_bf16 = dot_rows<StoredBf16>,
          .dot_rows_f16 = dot_rows<StoredF16>,
          .add_rows_f32 = add_rows<StoredF32>,
          .add_rows_bf16 = add_rows<StoredBf16>,
          .add_rows_f16 = add_rows<StoredF16>,
          .unpack = unpack,
          .dot_packed = dot_packed,
          .digit_chunk = digit_chunk,
          .split_digits = split_digits,
          .dot_digits = dot_digits,
          .dot_sparse_f32 = dot_sparse<StoredF32>,
          .dot_sparse_bf16 = dot_sparse<StoredBf16>,
          .dot_sparse_f16 = dot_sparse<StoredF16>,
          .dot_sparse_digits = kDotSparseDigits,
          .expand_f32 = expand_stored<StoredF32>,
          .expand_bf16 = expand_stored<StoredBf16>,
          .expand_f16 = expand_stored<StoredF16>,
          .expand_grid = expand_grid,
          .count_bits = count_bits,
          .bf16_to_f32 = widen<StoredBf16>,
          .f16_to_f32 = widen<StoredF16>,
          .round_bf16 = round_bf16,
          .vexp = vexp,
          .silu = silu,
          .swiglu = swiglu,
          .swiglu_vjp = swiglu_vjp,
          .max = max,
          .exp_sum = exp_sum,
          .sum = sum,
          .dot = dot,
          .axpy = axpy,
          .scale = scale,
          .add = add,
          .mul = mul,
          .tile_product = tile_product};
}
