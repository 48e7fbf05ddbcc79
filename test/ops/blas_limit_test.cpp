#include "ops/blas_limit.h"

#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("OpenBLAS's own product is timed, is right, and leaves the engine's bits as they were") {
  const Tensor a = randn({37, 65}, 1, DType::f32), b = randn({65, 70}, 2, DType::f32),
               bt = randn({70, 65}, 3, DType::f32);
  const Tensor before = matmul(a, Trans::no, b, Trans::no);
  Tensor c = Tensor::zeros({37, 70}, DType::f32);
  const auto seconds = blas_sgemm_seconds(37, 70, 65, a.data<float>().data(), b.data<float>().data(), Trans::no,
                                          c.mutable_data<float>().data(), 2);
  if (!seconds) {
    MESSAGE("skipped: built without OpenBLAS");
    return;
  }
  CHECK(*seconds > 0);
  CHECK(nmse(c, before) < 1e-12);  // sums of 65 products in another order: relative 1e-6, squared
  blas_sgemm_seconds(37, 70, 65, a.data<float>().data(), bt.data<float>().data(), Trans::yes,
                     c.mutable_data<float>().data(), 2);
  CHECK(nmse(c, matmul(a, Trans::no, bt, Trans::yes)) < 1e-12);
  CHECK(same_bits(matmul(a, Trans::no, b, Trans::no), before));
}
