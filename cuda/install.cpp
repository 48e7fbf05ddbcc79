#include "cuda/install.h"

#include "core/basic_kernels.h"
#include "cuda/allocator.h"
#include "cuda/kernels.h"
#include "cuda/runtime.h"
#include "ops/dropout.h"
#include "ops/rms_norm.h"

namespace sinter::cuda {

void install_kernels() {
  constexpr auto kind = DeviceKind::cuda;
  copy_bytes.install(kind, copy);
  zero_bytes.install(kind, zero);
  upload_bytes.install(kind, upload);
  download_bytes.install(kind, download);
  sinter::accumulate.install(kind, accumulate);
  cast_kernel.install(kind, cast);
  gemm_kernel.install(kind, gemm);
  rms_norm_kernel.install(kind, rms_norm);
  add_rms_norm_kernel.install(kind, add_rms_norm);
  rms_norm_backward_kernel.install(kind, rms_norm_backward);
  dropout_kernel.install(kind, dropout);
}

void install() {
  require_device();
  require_code_for_device();
  static_cast<void>(Runtime::get());
  set_allocator(DeviceKind::cuda, &device_allocator());
  install_kernels();
}

}  // namespace sinter::cuda
