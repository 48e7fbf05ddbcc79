#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace sinter {

// A damped Hessian, factored: R upper with H + λ·mean(diag H)·I = R Rᵀ, where a dead column's H_jj = 0 counts as 1.
// R⁻¹ is the U of the papers, H⁻¹ = Uᵀ U; the solver needs no more of it than the blocks on its diagonal (obs.h).
// Columns and rows stand in `order`, if there is one.
struct Factor {
  Tensor root;  // R [n, n]
  std::vector<std::int64_t> order;  // act-order: descending diagonal, of equals the first first; or empty
  std::vector<std::int64_t> dead;  // columns that no input excites
  double damp = 0;  // λ
  int ladder = 0;
};

struct FactorRequest {
  double damp = 0.01;
  bool act_order = false;
  bool f64 = true;  // the last step of the ladder may be taken: it needs memory for two more matrices of H's size
  friend bool operator==(const FactorRequest&, const FactorRequest&) = default;
};

// When H is not positive definite: λ·10 up to three times (ladder 1 .. 3), then in f64 (4), then Error(numeric). A
// diagonal that is not finite is Error(numeric) at once. Both name `where`. A Gram matrix that is given up (moved in by
// its only owner) becomes R in its own storage, with nothing of its size beside it up to ladder 3.
Factor factorise(Tensor gram, const FactorRequest&, std::string_view where);

// Remembers the last factor of one Gram matrix, which q, k and v (gate, up) share.
class FactorMemo {
 public:
  // The matrix is not looked at when the request is that of the call before.
  std::shared_ptr<const Factor> get(Tensor gram, const FactorRequest&, std::string_view where);

 private:
  FactorRequest request_;
  std::shared_ptr<const Factor> factor_;
};

}  // namespace sinter
