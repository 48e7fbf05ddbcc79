#include "core/basic_kernels.h"

#include <cstring>

#include "core/parallel.h"

namespace sinter {
namespace {

constexpr std::int64_t kGrain = 1 << 15;

void copy_cpu(std::byte* to, const std::byte* from, std::size_t n) { std::memcpy(to, from, n); }
void zero_cpu(std::byte* to, std::size_t n) { std::memset(to, 0, n); }

void accumulate_cpu(Tensor& into, const Tensor& x) {
  require(into.shape() == x.shape(), ErrorCode::shape, "accumulate", x.shape(), " into ", into.shape());
  visit_float(x.dtype(), "accumulate", [&]<class T>() {
    T* y = into.mutable_data<T>().data();
    const T* s = x.data<T>().data();
    parallel_for(x.numel(), kGrain, [&](std::int64_t b, std::int64_t e) {
      for (std::int64_t i = b; i < e; ++i) y[i] += s[i];
    });
  });
}

void cast_cpu(const Tensor& from, Tensor& to) {
  visit_stored(from.dtype(), "cast", [&]<class A>() {
    visit_stored(to.dtype(), "cast", [&]<class B>() {
      const A* x = from.data<A>().data();
      B* y = to.mutable_data<B>().data();
      parallel_for(from.numel(), kGrain, [&](std::int64_t b, std::int64_t e) {
        for (std::int64_t i = b; i < e; ++i) y[i] = from_float<B>(to_float(x[i]));
      });
    });
  });
}

}  // namespace

constinit KernelSlot<void(std::byte*, const std::byte*, std::size_t)> copy_bytes{"copy", copy_cpu};
constinit KernelSlot<void(std::byte*, std::size_t)> zero_bytes{"zero", zero_cpu};
constinit KernelSlot<void(Tensor&, const Tensor&)> accumulate{"accumulate", accumulate_cpu};
constinit KernelSlot<void(const Tensor&, Tensor&)> cast_kernel{"cast", cast_cpu};
constinit KernelSlot<void(std::byte*, const std::byte*, std::size_t)> upload_bytes{"upload", copy_cpu};
constinit KernelSlot<void(std::byte*, const std::byte*, std::size_t)> download_bytes{"download", copy_cpu};

Tensor cast(const Tensor& x, DType d) {
  if (x.dtype() == d) return x;
  Tensor y = Tensor::empty(x.shape(), d, x.device());
  cast_kernel(x.device(), x, y);
  return y;
}

Tensor cast_if_exact(const Tensor& x, DType d) {
  const Tensor narrow = cast(x, d), back = cast(narrow, x.dtype());
  return std::memcmp(back.raw(), x.raw(), x.bytes()) == 0 ? narrow : x;
}

}  // namespace sinter
