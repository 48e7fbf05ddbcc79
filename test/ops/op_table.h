#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/tape.h"

// One row per differentiable op. A row drives the gradient check in f64, the parity of f32 with f64, the equality of
// bits between thread counts, and the checks of partial gradients and of operands that are slices.
namespace sinter::test {

struct OpRow {
  // As in the op's `static constexpr std::string_view name`; several, separated by spaces, where one function is made
  // of ops that nothing else uses; after a comma the form: "attention, two sequences".
  std::string name;
  std::vector<Shape> small;  // the operands of the gradient check: every element is moved
  std::vector<Shape> odd;  // the operands of the other checks: odd, and large enough to be split between threads
  // The outputs for operands of either set, f32 or f64. What else the op takes (ids, targets) follows from the shapes.
  std::function<std::vector<Var>(std::span<const Var>)> run;
  double f32_nmse;  // Σ (f32 − f64)² / Σ f64², allowed for each output and each gradient
  std::string why;  // the reason for that tolerance
};

// The operands are standard normals.
std::vector<OpRow> rows_of_pointwise();  // elementwise, activation, dropout
std::vector<OpRow> rows_of_rows();  // norms, softmax, rope, embedding, concat, reductions
std::vector<OpRow> rows_of_products();  // linear, frozen_linear
std::vector<OpRow> rows_of_attention();
std::vector<OpRow> rows_of_cross_entropy();

std::vector<OpRow> all_rows();  // these

}  // namespace sinter::test
