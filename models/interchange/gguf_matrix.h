#pragma once
#include <functional>
#include <string>

#include "models/interchange/gguf.h"
#include "models/interchange/gguf_file.h"
#include "models/interchange/gguf_layout.h"

namespace sinter {

// One frozen matrix [m, n] on its way into a GGUF file: the type that it takes there, then its rows in that type.
class GgufMatrix {
 public:
  // at_least_q8: for embedding and head, which lose too much in Q4_0. Error(input) naming `name` for values that are
  // not finite.
  GgufMatrix(std::string name, FrozenWeightPtr w, HeadRows order, GgufType wanted, bool at_least_q8);

  const std::string& name() const { return name_; }
  const GgmlType& type() const { return *type_; }
  Shape shape() const { return {w_->out_features(), w_->in_features()}; }
  // All rows in the file's order, a few at a time; ‖W − stored‖ / ‖W‖.
  double write(const std::function<void(std::span<const std::byte>)>& out) const;

 private:
  // What a pass over all weights finds.
  struct Facts {
    bool in_q4_0 = false, in_q8_0 = false;  // each weight is a code of that range times its group's scale
    bool in_f16 = true, in_bf16 = true;
  };
  struct Errors {
    double difference = 0, power = 0;  // Σ (w − stored)², Σ w²
  };
  Tensor rows(std::int64_t begin, std::int64_t end) const;  // f32, in the file's order
  Facts examine() const;
  const GgmlType& choose(GgufType wanted, bool at_least_q8) const;
  void write_row(std::int64_t file_row, std::span<const float> w, std::byte* to, Errors&) const;
  bool codes_of(std::span<const float> block, float scale, int least, int most, int* q) const;

  std::string name_;
  FrozenWeightPtr w_;
  HeadRows order_;
  Tensor scale_;  // [m, G] of a grid whose groups are whole blocks, or empty
  std::int64_t group_ = 0;
  bool dense_;
  DType stored_ = DType::f32;  // of a dense one
  const GgmlType* type_;
};

}  // namespace sinter
