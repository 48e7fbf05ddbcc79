#pragma once
#include "core/tensor.h"
#include "models/checkpoint.h"

// Tensors of other programs, checked before anything is computed from them: Error(input) names file and tensor.
namespace sinter {

[[noreturn]] void refuse_tensor(const Checkpoint&, const std::string& name, const std::string& expected);
Tensor words_of(const Checkpoint&, const std::string& name);  // i32 matrix, neither side 0
Tensor words_of(const Checkpoint&, const std::string& name, Shape);
// Finite scales as f16 or f32, [out, G]; stored so, or [G, out].
Tensor scales_of(const Checkpoint&, const std::string& name, std::int64_t out, std::int64_t groups, bool transposed);
// The group of each column, 0 .. groups − 1; empty where the checkpoint has no such tensor, or one that says −1.
std::vector<std::int32_t> group_index_of(const Checkpoint&, const std::string& name, std::int64_t columns,
                                         std::int64_t groups);

}  // namespace sinter
