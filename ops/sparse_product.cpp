#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "ops/few_rows.h"
#include "ops/gemm_tile.h"
#include "ops/sparse_matrix.h"

namespace sinter {
namespace {

// The stored weights of some rows for a kernel, which reads up to kBehind bytes more than they have: the last rows of a
// matrix are copied.
class StoredRows {
 public:
  StoredRows(const SparseSource& source, std::int64_t first, std::int64_t rows) {
    const SparseMatrix& w = source.matrix();
    const Tensor& stored = w.bits ? w.codes : w.values;
    const auto size = std::int64_t(info(stored.dtype()).size), mask_bytes = (w.cols + 7) / 8;
    const std::int64_t* begin = source.begins().data() + first;
    data_ = stored.raw();
    rows_ = {w.mask.data<std::uint8_t>().data() + first * mask_bytes, begin, mask_bytes, rows, w.cols};
    if (begin[rows] * size + kBehind <= std::int64_t(stored.bytes())) return;
    const std::int64_t from = *begin * size, bytes = begin[rows] * size - from;
    copy_ = Tensor::zeros({bytes + kBehind}, DType::u8);
    std::memcpy(copy_.mutable_data<std::uint8_t>().data(), data_ + from, std::size_t(bytes));
    for (std::int64_t r = 0; r <= rows; ++r) begins_.push_back(begin[r] - *begin);
    data_ = copy_.raw();
    rows_.begin = begins_.data();
  }
  StoredRows(const StoredRows&) = delete;
  StoredRows& operator=(const StoredRows&) = delete;
  const SparseRows& rows() const { return rows_; }
  template <class T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  static constexpr std::int64_t kBehind = 64;
  SparseRows rows_{};
  const std::byte* data_;
  std::vector<std::int64_t> begins_;
  Tensor copy_;
};

// f(the weights of n rows, where they begin in W, where their products [T, n] go) for tasks of rows, then the epilogue.
template <class F>
void stored_product(const SparseSource& w, std::int64_t T, Rows r, const View& y, const Epilogue& e, F&& f) {
  parallel_for(r.size(), decode_grain(w.in_features()), [&](std::int64_t b, std::int64_t end) {
    const std::int64_t n = end - b;
    const StoredRows stored(w, r.begin + b, n);
    std::vector<float> p(std::size_t(T * n));
    f(stored, r.begin + b, p.data());
    merge_tile<float>(T, n, p.data(), n, y.data<float>() + b, y.stride(), tile_epilogue<float>(e, b, n));
  });
}

void values_product(const SparseSource& w, const ConstView& x, Rows r, const View& y, const Epilogue& e) {
  const CpuKernels& isa = cpu_kernels();
  const DType type = w.matrix().values.dtype();
  const int T = int(x.rows());
  stored_product(w, T, r, y, e, [&](const StoredRows& s, std::int64_t, float* p) {
    const std::int64_t n = s.rows().rows;
    if (type == DType::f32) return isa.dot_sparse_f32(x.data<float>(), x.stride(), T, s.rows(), s.data<float>(), p, n);
    const auto dot = type == DType::bf16 ? isa.dot_sparse_bf16 : isa.dot_sparse_f16;
    dot(x.data<float>(), x.stride(), T, s.rows(), s.data<std::uint16_t>(), p, n);
  });
}

void codes_product(const SparseSource& w, const ConstView& x, Rows r, const View& y, const Epilogue& e) {
  const SparseMatrix& m = w.matrix();
  const Digits digits(x, m.group, CpuKernels::kInColumnOrder);
  const int T = int(x.rows());
  stored_product(w, T, r, y, e, [&](const StoredRows& s, std::int64_t first, float* p) {
    const std::int64_t n = s.rows().rows;
    const GridRows grid(m.scale, m.zero, first, n);
    const PackedRows rows{
        s.data<std::uint8_t>(), nullptr, grid.scale(), grid.zero(), 0, m.cols, m.group, m.groups(), m.bits};
    cpu_kernels().dot_sparse_digits(digits.rows(), T, s.rows(), rows, p, n);
  });
}

}  // namespace

void sparse_product(const SparseSource& w, const ConstView& x, Rows r, const View& y, const Epilogue& e, Compute c) {
  const SparseMatrix& m = w.matrix();
  const bool few = x.rows() <= kFewDecodeRows && y.dtype() == DType::f32 && y.device() == Device{};
  if (few && m.bits == 0) return values_product(w, x, r, y, e);
  if (few && c == Compute::bf16 && !m.group_of && Digits::fit(CpuKernels::kInColumnOrder, m.cols, m.group))
    return codes_product(w, x, r, y, e);
  strip_product(w, x, r, y, e, c);
}

}  // namespace sinter
