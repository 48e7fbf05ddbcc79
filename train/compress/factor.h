#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sinter {

// A damped Hessian, factored: U upper with (H + λ·mean(diag H)·I)⁻¹ = Uᵀ U, where a dead column's H_jj = 0 counts as 1.
// Columns and rows stand in `order`, if there is one.
struct Factor {
  Tensor upper;  // [n, n]
  std::vector<std::int64_t> order;  // act-order: descending diagonal, of equals the first first; or empty
  std::vector<std::int64_t> dead;  // columns that no input excites
  double damp = 0;  // λ
  int ladder = 0;
};

struct FactorRequest {
  double damp = 0.01;
  bool act_order = false;
  friend bool operator==(const FactorRequest&, const FactorRequest&) = default;
};

// When H is not positive definite: λ·10 up to three times (ladder 1 .. 3), then in f64 (4), then Error(numeric). A
// diagonal that is not finite is Error(numeric) at once. Both name `where`.
Factor factorise(const Tensor& gram, const FactorRequest&, std::string_view where);

// Remembers the last factor of one Gram matrix, which q, k and v (gate, up) share.
class FactorMemo {
 public:
  std::shared_ptr<const Factor> get(const Tensor& gram, const FactorRequest&, std::string_view where);

 private:
  FactorRequest request_;
  std::shared_ptr<const Factor> factor_;
};

}  // namespace sinter
