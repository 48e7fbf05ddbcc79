#include "ops/embedding.h"

#include <vector>

#include "ops/operands.h"
#include "ops/vector_math.h"

namespace sinter {
namespace {

void embedding_cpu(const Tensor& table, std::span<const std::int32_t> ids, Tensor& y) {
  visit_float(table.dtype(), "embedding", [&]<class T>() {
    const std::int64_t d = table.shape()[1];
    const T* from = table.data<T>().data();
    T* to = y.mutable_data<T>().data();
    parallel_for(std::int64_t(ids.size()), row_grain(d), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) std::copy_n(from + ids[std::size_t(t)] * d, d, to + t * d);
    });
  });
}

// dtable[ids[t]] += dy[t]. Threads share the columns, so that every row is summed in the order of ids.
void embedding_backward_cpu(std::span<const std::int32_t> ids, const Tensor& dy, Tensor& dtable) {
  visit_float(dy.dtype(), "embedding_backward", [&]<class T>() {
    const std::int64_t vocab = dtable.shape()[0], d = dtable.shape()[1], n = std::int64_t(ids.size());
    const T* from = dy.data<T>().data();
    T* to = dtable.mutable_data<T>().data();
    parallel_for(vocab, row_grain(d),
                 [&](std::int64_t begin, std::int64_t end) { std::fill(to + begin * d, to + end * d, T(0)); });
    const std::int64_t grain = std::max<std::int64_t>(64, kChunk / std::max<std::int64_t>(n, 1));
    parallel_for(d, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = 0; t < n; ++t)
        row_add(to + ids[std::size_t(t)] * d + begin, from + t * d + begin, end - begin);
    });
  });
}

struct EmbeddingOp {
  static constexpr std::string_view name = "embedding";
  static constexpr std::size_t arity = 1;  // table
  struct Saved {
    std::vector<std::int32_t> ids;
    Shape table;
  };
  static Cotangents<1> vjp(const Saved& s, const Tensor& dy, Needs<1>) {
    Tensor d = Tensor::empty(s.table, dy.dtype(), dy.device());
    embedding_backward_kernel(dy.device(), s.ids, dy, d);
    return {d};
  }
};

}  // namespace

constinit KernelSlot<void(const Tensor&, std::span<const std::int32_t>, Tensor&)> embedding_kernel{"embedding",
                                                                                                   embedding_cpu};
constinit KernelSlot<void(std::span<const std::int32_t>, const Tensor&, Tensor&)> embedding_backward_kernel{
    "embedding_backward", embedding_backward_cpu};

Var embedding(const Var& table, std::span<const std::int32_t> ids) {
  require_alike(EmbeddingOp::name, table.value());
  require_rank(EmbeddingOp::name, "the table", table.value(), 2);
  const std::int64_t vocab = table.shape()[0];
  for (const std::int32_t id : ids)
    require(0 <= id && id < vocab, ErrorCode::usage, EmbeddingOp::name, "id ", id, " with a vocabulary of ", vocab);
  Tensor y = Tensor::empty({std::int64_t(ids.size()), table.shape()[1]}, table.value().dtype(), table.value().device());
  embedding_kernel(y.device(), table.value(), ids, y);
  return record<EmbeddingOp>({table}, std::move(y), {{ids.begin(), ids.end()}, table.shape()});
}

}  // namespace sinter
