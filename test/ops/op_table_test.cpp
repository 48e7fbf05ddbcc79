#include "test/ops/op_table.h"

#include <memory>
#include <optional>

#include "core/parallel.h"
#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "test/gradcheck.h"

using namespace sinter;
using namespace sinter::test;

namespace {

std::vector<Tensor> operands(const std::vector<Shape>& shapes, DType dtype) {
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < shapes.size(); ++i) all.push_back(randn(shapes[i], 100 + i, DType::f32));
  for (Tensor& t : all) t = cast(t, dtype);
  return all;
}

// Σ_k ⟨y_k, R_k⟩ with fixed random R_k: every output receives a cotangent of its own.
Var weighted(const std::vector<Var>& outputs) {
  Var total;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const Tensor& y = outputs[k].value();
    const Var part = sum(mul(outputs[k], cast(randn(y.shape(), 900 + k, DType::f32), y.dtype())));
    total = k ? add(total, part) : part;
  }
  return total;
}

struct Results {
  std::vector<Tensor> outputs, gradients;  // a gradient per operand, empty where it is not tracked
};

// Forward and backward with all operands tracked, or only one.
Results run(const OpRow& row, const std::vector<Tensor>& at, std::optional<std::size_t> only = {}) {
  std::vector<std::unique_ptr<Param>> params;
  std::vector<Var> in;
  Tape tape;
  for (std::size_t i = 0; i < at.size(); ++i) {
    params.push_back(std::make_unique<Param>("p", at[i]));
    in.push_back(!only || *only == i ? tape.leaf(*params[i]) : Var(at[i]));
  }
  Results r;
  const std::vector<Var> out = row.run(in);
  for (const Var& y : out) r.outputs.push_back(y.value());
  const Var loss = weighted(out);
  const Grads g = std::move(tape).backward(loss, ones({1}, loss.value().dtype()));
  for (const auto& p : params) r.gradients.push_back(g.find(*p) ? *g.find(*p) : Tensor());
  return r;
}

// The same values as rows 1.. of a larger storage.
Tensor sliced(const Tensor& t) {
  Shape s = t.shape();
  s.at(0) += 1;
  Tensor all = Tensor::zeros(s, t.dtype());
  visit_float(t.dtype(), "sliced", [&]<class T>() {
    const auto from = t.data<T>();
    std::ranges::copy(from, all.mutable_data<T>().end() - std::ptrdiff_t(from.size()));
  });
  return all.rows(1, s[0]);
}

void check_same_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(same_bits(a[i], b[i]));
  }
}

}  // namespace

TEST_CASE("The gradient of every op agrees with differences in f64") {
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    const auto loss = [&](std::vector<Var>& v) { return weighted(row.run(v)); };
    CHECK(grad_error(loss, operands(row.small, DType::f64)) < kGradTolerance);
  }
}

TEST_CASE("Every op in f32 agrees with itself in f64, forward and backward") {
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    CAPTURE(row.why);
    const Results narrow = run(row, operands(row.odd, DType::f32)), wide = run(row, operands(row.odd, DType::f64));
    for (std::size_t k = 0; k < wide.outputs.size(); ++k) {
      CAPTURE(k);
      CHECK(narrow.outputs[k].dtype() == DType::f32);
      CHECK(nmse(narrow.outputs[k], wide.outputs[k]) <= row.f32_nmse);
    }
    for (std::size_t i = 0; i < wide.gradients.size(); ++i) {
      CAPTURE(i);
      CHECK(nmse(narrow.gradients[i], wide.gradients[i]) <= row.f32_nmse);
    }
  }
}

TEST_CASE("Every op gives the same bits with 1, 2 and 3 threads") {
  const int before = threads();
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    const std::vector<Tensor> at = operands(row.odd, DType::f32);
    set_threads(1);
    const Results one = run(row, at);
    for (int n : {2, 3}) {
      CAPTURE(n);
      set_threads(n);
      const Results many = run(row, at);
      check_same_bits(many.outputs, one.outputs);
      check_same_bits(many.gradients, one.gradients);
    }
  }
  set_threads(before);
}

TEST_CASE("Every op gives an operand the same gradient whether or not the others need one") {
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    const std::vector<Tensor> at = operands(row.odd, DType::f32);
    const Results all = run(row, at);
    for (std::size_t i = 0; i < at.size(); ++i) {
      CAPTURE(i);
      const Results alone = run(row, at, i);
      CHECK(same_bits(alone.gradients[i], all.gradients[i]));
      check_same_bits(alone.outputs, all.outputs);
      for (std::size_t j = 0; j < at.size(); ++j)
        if (j != i) CHECK_FALSE(alone.gradients[j]);
    }
  }
}

TEST_CASE("Every op reads operands that are slices of a larger storage") {
  for (const OpRow& row : all_rows()) {
    CAPTURE(row.name);
    const std::vector<Tensor> at = operands(row.odd, DType::f32);
    std::vector<Tensor> slices;
    for (const Tensor& t : at) slices.push_back(sliced(t));
    const Results whole = run(row, at), part = run(row, slices);
    check_same_bits(part.outputs, whole.outputs);
    check_same_bits(part.gradients, whole.gradients);
  }
}
