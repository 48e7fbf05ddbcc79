#pragma once
#include "core/kernel_slot.h"
#include "core/view.h"

namespace sinter {

enum class Trans : bool { no, yes };
enum class Activation { none, relu, gelu, silu };

// The arithmetic of a product. f32 is the reference (f64 tensors compute in f64, for gradient checks); bf16 rounds both
// factors to bf16 and sums in f32; with a few rows a frozen weight may keep them nearer to what they are.
enum class Compute { f32, bf16 };

// What happens to a product p on its way out: y = beta·y + act(p + bias).
struct Epilogue {
  Tensor bias{};  // [cols of y] or empty
  Activation activation = Activation::none;
  float beta = 0;
};

// c = beta·c + act(op(a) · op(b) + bias);  op(a) [m, k], op(b) [k, n], c [m, n]; all f32 or all f64.
// The same bits for any number of threads.
extern KernelSlot<void(const ConstView& a, Trans, const ConstView& b, Trans, const View& c, const Epilogue&)>
    gemm_kernel;

void gemm(const ConstView& a, Trans, const ConstView& b, Trans, const View& c, const Epilogue& = {});
Tensor matmul(const ConstView& a, Trans, const ConstView& b, Trans);

}  // namespace sinter
