#include "core/tensor.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "core/basic_kernels.h"
#include "core/view.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

static_assert(!std::is_constructible_v<View, const Tensor&> && !std::is_convertible_v<ConstView, View>);
static_assert(std::is_convertible_v<View, ConstView>);

TEST_CASE("A shape counts from both ends and knows its size") {
  Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s[0] == 2);
  CHECK(s[-1] == 4);
  CHECK(s.numel() == 24);
  CHECK(Shape{}.numel() == 1);
  CHECK(s == Shape{2, 3, 4});
  CHECK_FALSE(s == Shape{2, 3});
  CHECK_THROWS_CODE(shape, Shape{1, 1, 1, 1, 1, 1, 1});
  CHECK_THROWS_CODE(shape, Shape{2, -1});
}

TEST_CASE("Views of a tensor share its storage, a clone does not") {
  const Tensor t = randn({4, 3}, 1);
  CHECK(t.reshape({2, 6}).raw() == t.raw());
  CHECK(t.rows(2, 4).raw() == t.raw() + 2 * 3 * 8);
  CHECK(t.rows(1, 4).rows(1, 2).raw() == t.rows(2, 3).raw());
  CHECK(t.rows(4, 4).numel() == 0);
  CHECK(t.clone().raw() != t.raw());
  CHECK(same_bits(t.clone(), t));
  CHECK(same_bits(t.rows(1, 3).clone(), t.rows(1, 3)));
  CHECK(t.to(Device{}).raw() == t.raw());
  CHECK_THROWS_TEXT(shape, "reshape: [4, 3] to [5]", t.reshape({5}));
  CHECK_THROWS_CODE(shape, t.rows(2, 5));
  CHECK_THROWS_CODE(shape, t.rows(-1, 2));
  CHECK_THROWS_CODE(shape, t.rows(3, 2));
  CHECK_THROWS_CODE(shape, Tensor::full({}, 1, DType::f32).rows(0, 0));
}

TEST_CASE("Only the sole owner writes, in its own type") {
  Tensor t = Tensor::zeros({2, 2}, DType::f32);
  t.mutable_data<float>()[3] = 7;
  CHECK(value_at(t, 3) == 7);
  CHECK_THROWS_CODE(dtype, t.mutable_data<double>());
  CHECK_THROWS_CODE(dtype, t.data<std::int32_t>());
  {
    const Tensor reader = t;
    CHECK_THROWS_TEXT(unsupported, "storage is shared", t.mutable_data<float>());
    View(t).row_range(1, 2).row<float>(0)[0] = 5;  // a View writes all the same
    CHECK(value_at(reader, 2) == 5);
  }
  t.mutable_data<float>()[0] = 1;
  Tensor part = t.rows(1, 2);
  t = Tensor();
  part.mutable_data<float>()[0] = 9;  // the last handle, with an offset
  CHECK(value_at(part, 0) == 9);
}

TEST_CASE("A borrowed tensor reads foreign bytes, keeps them alive and never writes") {
  auto bytes = std::make_shared<std::vector<float>>(6, 2.f);
  const std::weak_ptr<std::vector<float>> watch = bytes;
  const auto* data = reinterpret_cast<const std::byte*>(bytes->data());
  Tensor t = Tensor::borrow({2, 3}, DType::f32, data, bytes);
  bytes.reset();
  CHECK(value_at(t.rows(1, 2), 2) == 2);
  CHECK_THROWS_CODE(unsupported, t.mutable_data<float>());
  CHECK(t.clone().sole_owner());
  t = Tensor();
  CHECK(watch.expired());
}

TEST_CASE("An empty handle is false, a tensor without elements is not") {
  const Tensor none;
  CHECK_FALSE(none);
  CHECK(none.bytes() == 0);
  const Tensor zero = Tensor::zeros({0, 5}, DType::f32);
  CHECK(zero);
  CHECK(zero.bytes() == 0);
  CHECK(zero.clone().shape() == Shape{0, 5});
}

TEST_CASE("Sizes that overflow are errors, not allocations") {
  const std::int64_t huge = std::int64_t(1) << 40;
  CHECK_THROWS_TEXT(shape, "too large", Tensor::empty({huge, huge}, DType::f32));
  CHECK_THROWS_CODE(shape, Tensor::empty({std::numeric_limits<std::int64_t>::max(), 2}, DType::u8));
  CHECK_THROWS_CODE(out_of_memory, Tensor::empty({huge, 1 << 15}, DType::f64));  // 2^58 bytes
}

TEST_CASE("A view is a window of rows and columns on a tensor") {
  Tensor t = Tensor::zeros({2, 3, 4}, DType::f64);
  const View all(t);
  CHECK(all.rows() == 6);
  CHECK(all.cols() == 4);
  const View window = all.row_range(1, 5).col_range(1, 3);
  CHECK(window.rows() == 4);
  CHECK(window.cols() == 2);
  CHECK(window.stride() == 4);
  window.row<double>(3)[1] = 8;
  CHECK(t.data<double>()[4 * 4 + 2] == 8);
  CHECK(ConstView(window).row<double>(3)[1] == 8);
  CHECK_THROWS_CODE(shape, all.row_range(0, 7));
  CHECK_THROWS_CODE(shape, all.col_range(2, 1));
  CHECK_THROWS_CODE(dtype, all.data<float>());
  CHECK(ConstView(Tensor::zeros({0, 4}, DType::f32)).rows() == 0);
  CHECK_THROWS_CODE(shape, ConstView(Tensor()));
}

TEST_CASE("Casts round to nearest and keep the shape") {
  const Tensor x = Tensor::of<float>({2, 2}, std::vector<float>{1.f, 1.f + 0x1p-8f, 65520.f, -0.f});
  CHECK(cast(x, DType::f32).raw() == x.raw());
  const Tensor b = cast(x, DType::bf16);
  CHECK(b.shape() == x.shape());
  CHECK(value_at(b, 1) == 1);  // a tie, to even
  CHECK(std::isinf(value_at(cast(x, DType::f16), 2)));
  CHECK(std::signbit(value_at(b, 3)));
  CHECK(value_at(cast(b, DType::f64), 2) == 65536);
  CHECK_THROWS_CODE(dtype, cast(x, DType::i32));
  CHECK_THROWS_CODE(dtype, cast(Tensor::zeros({1}, DType::u8), DType::f32));
}

TEST_CASE("Accumulating adds in place and checks shapes and types") {
  Tensor y = randn({40001}, 1, DType::f32);
  const Tensor before = y.clone(), x = randn({40001}, 2, DType::f32);
  accumulate({}, y, x);
  for (const std::size_t i : {0, 20000, 40000})
    CHECK(y.data<float>()[i] == before.data<float>()[i] + x.data<float>()[i]);
  CHECK_THROWS_CODE(shape, accumulate({}, y, randn({3}, 1, DType::f32)));
  CHECK_THROWS_CODE(dtype, accumulate({}, y, randn({40001}, 1, DType::f64)));
}

TEST_CASE("A kernel that a device lacks is an error that names both") {
  Tensor t = Tensor::zeros({1}, DType::f32);
  CHECK_THROWS_TEXT(unsupported, "accumulate: no kernel for cuda:0", accumulate(Device{DeviceKind::cuda, 0}, t, t));
  CHECK_THROWS_CODE(device, Tensor::empty({1}, DType::f32, Device{DeviceKind::cuda, 0}));
}
