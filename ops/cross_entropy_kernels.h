#pragma once
#include "core/kernel_slot.h"
#include "core/view.h"

namespace sinter {

// What is known of n rows of logits after some chunks of the vocabulary; all on the device of the logits.
struct LogitRows {
  Tensor targets;  // [n] i32
  Tensor top, sum, hit;  // [n] f64: the largest logit so far, Σ exp(logit − top), the target's logit
};

// The logits of vocabulary entries first .. first + cols: notes them in `rows` and leaves exp(logit − top) in their
// place; `acc` [n, d] (may be empty) is scaled by exp(old top − new top).
extern KernelSlot<void(const View& logits, std::int64_t first, LogitRows& rows, Tensor& acc)> absorb_logits_kernel;

// Logits (or, where `raised`, exp(logit − top)) become the cotangent of the loss: softmax − one-hot.
extern KernelSlot<void(const View& logits, std::int64_t first, const LogitRows& rows, bool raised)>
    logit_gradient_kernel;

// dh[ids_i] = acc_i / sum_i − w_i, with w_i the target's row of W; acc, w [n, d], ids [n] i32.
extern KernelSlot<void(const Tensor& acc, const LogitRows& rows, const Tensor& w, const Tensor& ids, Tensor& dh)>
    hidden_gradient_kernel;

}  // namespace sinter
