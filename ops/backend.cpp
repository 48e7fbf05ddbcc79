#include "ops/backend.h"

#include "core/error.h"
#if SINTER_CUDA
#include "cuda/install.h"
#endif

namespace sinter {

void require_backend(DeviceKind kind) {
  if (kind == DeviceKind::cpu) return;
#if SINTER_CUDA
  [[maybe_unused]] static const bool installed = (cuda::install(), true);
#else
  fail(ErrorCode::usage, "cuda", "this build has no CUDA");
#endif
}

}  // namespace sinter
