#pragma once
#include "core/random.h"
#include "ops/gemm.h"

// What cuda/ puts into the slots of core and ops: the same arguments, shapes and meaning, queued on the one stream.
namespace sinter::cuda {

void copy(std::byte* to, const std::byte* from, std::size_t bytes);
void zero(std::byte* to, std::size_t bytes);
void upload(std::byte* to, const std::byte* host, std::size_t bytes);  // has read `host` when it returns
void download(std::byte* host, const std::byte* from, std::size_t bytes);  // `host` is written when it returns
void accumulate(Tensor& into, const Tensor& x);
void cast(const Tensor& from, Tensor& to);

void gemm(const ConstView& a, Trans, const ConstView& b, Trans, const View& c, const Epilogue&);
// c = beta·c + act(p + bias);  p, c [m, n]; p may be c
void gemm_epilogue(const ConstView& p, const Epilogue&, const View& c);

void rms_norm(const Tensor& x, const Tensor& w, double eps, Tensor& y);
void add_rms_norm(const Tensor& x, const Tensor& r, const Tensor& w, double eps, Tensor& h, Tensor& y);
void rms_norm_backward(const Tensor& x, const Tensor& w, const Tensor& dy, const Tensor& residual, double eps,
                       Tensor& dx, Tensor& dw);

void dropout(const Tensor& x, double p, Rng, Tensor& y);

// Throws Error(device) when this build has no code for the device.
void require_code_for_device();

}  // namespace sinter::cuda
