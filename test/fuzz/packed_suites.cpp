// Weights in formats of ours: as the file that holds them, and as the parts that a file of any kind is read into.
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/basic_kernels.h"
#include "core/file.h"
#include "core/tensor_file.h"
#include "models/checkpoint.h"
#include "models/packed.h"
#include "models/weights/formats.h"
#include "test/fuzz/model_targets.h"
#include "test/fuzz/refused.h"
#include "test/temp_dir.h"

namespace sinter::fuzz {
namespace {

void use(const FrozenWeight& w, std::size_t file_bytes) {
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  const Tensor dense = w.dense(w.all());
  expect(dense.shape() == Shape{w.out_features(), w.in_features()}, "dense() has another shape");
  const Tensor y = apply(w, Tensor::full({2, w.in_features()}, 1, DType::f32));
  const Tensor dx = apply_transposed(w, Tensor::full({2, w.out_features()}, 1, DType::f32));
  const std::int32_t last[] = {std::int32_t(w.out_features() - 1)};
  expect(w.gather(last).shape() == Shape{1, w.in_features()}, "gather() has another shape");
  // 2 bits become 32; a short row of x and y comes on top.
  expect(memory.stats().largest <= 32 * file_bytes + 4096, "an allocation out of proportion");
  const FrozenWeightPtr again = load_packed(w.pack(), "again");
  const Tensor same = again->dense(again->all());
  const auto a = dense.data<float>(), b = same.data<float>();
  expect(a.size_bytes() == b.size_bytes() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0,
         "packing and loading again changes the values");
}

// A [3, 6] weight in 3 bits, groups of 2, act-order; a third of its codes are its zeros.
PackedInt grid_sample() {
  const std::uint8_t codes[18] = {3, 7, 4, 4, 1, 5, 6, 0, 0, 0, 7, 7, 2, 3, 5, 6, 3, 1},
                     zeros[9] = {3, 4, 1, 0, 0, 7, 2, 5, 3};
  const float scales[9] = {0.5f, 1, 2, -1, 0.25f, 0, 3, 1, 1};
  const std::int32_t order[6] = {3, 1, 4, 0, 5, 2};
  PackedInt w;
  w.rows = 3, w.cols = 6, w.group = 2, w.bits = 3;
  w.codes = pack_codes(Tensor::of<std::uint8_t>({3, 6}, codes), 3);
  w.scale = Tensor::of<float>({3, 3}, scales);
  w.zero = Tensor::of<std::uint8_t>({3, 3}, zeros);
  w.order = Tensor::of<std::int32_t>({6}, order);
  return w;
}

// The half of it that `pattern` keeps.
FrozenWeightPtr pruned_sample(KeptPattern pattern, DType values) {
  const PackedInt grid = grid_sample();
  Tensor dense = Tensor::empty({3, 6}, DType::f32);
  unpack_rows(grid, 0, 3, dense);
  for (std::int64_t i = 0; i < 9; ++i) dense.mutable_data<float>()[std::size_t(2 * i + i % 2)] = 0;
  const Tensor mask = kept_mask(dense, pattern);
  return freeze_sparse(values == DType::u8 ? keep_codes(grid, mask, pattern)
                                           : keep_values(cast(dense, values), mask, pattern));
}

// A file with the weights "q" and "d".
std::string packed_sample(const FrozenWeight& q, const FrozenWeight& d) {
  const test::TempDir dir;
  NamedTensors tensors;
  Json weights = Json::object();
  for (const auto& [name, w] : {std::pair<std::string, const FrozenWeight*>{"q", &q}, {"d", &d}}) {
    const Packed p = w->pack();
    for (const auto& [part, t] : p.parts) tensors.emplace_back(name + "." + part, t);
    weights[name] = {{"tag", p.tag}, {"version", p.version}, {"fields", p.fields}};
  }
  write_tensors(dir / "s", tensors, {{"sinter.weights", weights.dump()}});
  return read_text(dir / "s");
}

std::vector<std::string> packed_samples() {
  PackedInt half = grid_sample();
  half.scale = cast(half.scale, DType::f16);
  const FrozenWeightPtr dense = freeze_dense(Tensor::full({2, 3}, 0.5, DType::bf16));
  return {packed_sample(*freeze_grouped_int(grid_sample()), *dense), packed_sample(*freeze_grouped_int(half), *dense),
          packed_sample(*pruned_sample({}, DType::bf16), *pruned_sample({1, 2}, DType::f32)),
          packed_sample(*pruned_sample({}, DType::u8), *pruned_sample({2, 3}, DType::u8))};
}

// A Packed as bytes, of which any have a meaning: what is missing is 0.
constexpr const char* kTags[] = {"dense", "grouped_int", "bitmap", "n_of_m"};
constexpr const char* kFields[] = {"cols", "bits", "group", "keep", "of", "rows"};
constexpr const char* kParts[] = {"weight", "codes", "scale", "zero", "order", "mask", "values", "group_of"};

template <std::size_t N>
std::uint8_t place_of(std::string_view name, const char* const (&names)[N]) {
  return std::uint8_t(std::ranges::find(names, name) - names);
}

std::string bytes_of(const Packed& p) {
  std::string s{char(place_of(p.tag, kTags)), char(p.version), char(p.fields.size())};
  for (const auto& [name, value] : p.fields) {
    s += char(place_of(name, kFields));
    s.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  s += char(p.parts.size());
  for (const auto& [name, t] : p.parts) {
    s += char(place_of(name, kParts));
    s += char(t.dtype());
    s += char(t.shape().rank());
    for (int i = 0; i < t.shape().rank(); ++i) s += char(t.shape()[i]);
    s.append(reinterpret_cast<const char*>(t.raw()), t.bytes());
  }
  return s;
}

class Bytes {
 public:
  explicit Bytes(std::string_view s) : rest_(s) {}
  std::size_t below(std::size_t n) { return std::uint8_t(take<char>()) % n; }
  template <class T>
  T take() {
    T v{};
    read(reinterpret_cast<std::byte*>(&v), sizeof v);
    return v;
  }
  void read(std::byte* to, std::size_t n) {
    const std::size_t have = std::min(n, rest_.size());
    std::memcpy(to, rest_.data(), have);
    rest_.remove_prefix(have);
  }

 private:
  std::string_view rest_;
};

Packed packed_from(std::string_view input) {
  Bytes in(input);
  Packed p{kTags[in.below(std::size(kTags))], int(in.below(4)), {}, {}};
  for (std::size_t n = in.below(7); n > 0; --n) {
    const char* name = kFields[in.below(std::size(kFields))];
    p.fields[name] = in.take<std::int64_t>();
  }
  for (std::size_t n = in.below(9); n > 0; --n) {
    const char* name = kParts[in.below(std::size(kParts))];
    const auto type = DType(in.below(std::size(kDTypes)));
    const std::size_t rank = in.below(3);
    Shape shape;
    if (rank == 1) shape = {std::int64_t(in.below(64))};
    if (rank == 2) {
      const auto rows = std::int64_t(in.below(64));
      shape = {rows, std::int64_t(in.below(64))};
    }
    std::vector<std::byte> bytes(std::size_t(shape.numel()) * info(type).size);
    in.read(bytes.data(), bytes.size());
    const auto keeper = std::make_shared<std::vector<std::byte>>(std::move(bytes));
    p.parts[name] = Tensor::borrow(shape, type, keeper->data(), keeper);
  }
  return p;
}

}  // namespace

Outcome load_packed_file(std::string_view input) {
  static const test::TempDir dir;
  std::filesystem::remove(dir / "model.safetensors");  // some file systems sync a file that is written over
  std::ofstream(dir / "model.safetensors", std::ios::binary) << input;
  return loaded_or_refused([&] {
    const Checkpoint checkpoint(dir.path());
    int found = 0;
    for (const std::string name : {"q", "d"})
      if (const auto packed = checkpoint.packed(name)) {
        use(*load_packed(*packed, name), input.size());
        ++found;
      }
    require(found == 2, ErrorCode::input, "packed", "a weight is missing");
  });
}

Outcome load_weight(std::string_view input) {
  return loaded_or_refused([&] {
    const Packed p = packed_from(input);
    std::size_t bytes = 0;
    for (const auto& [name, t] : p.parts) bytes += t.bytes();
    use(*load_packed(p, "weight"), bytes);
  });
}

Suite packed_suite() {
  return {"packed",
          packed_samples(),
          {R"(\"bits\":)",
           R"(\"group\":)",
           R"(\"cols\":)",
           R"(\"version\":2)",
           R"(\"tag\":\"dense\")",
           R"(\"tag\":\"grouped_int\")",
           R"(\"tag\":\"bitmap\")",
           R"(\"tag\":\"n_of_m\")",
           R"(\"keep\":)",
           R"(\"of\":)",
           R"(\"q\":)",
           R"(\"order\":1,)",
           R"(\"fields\":{})",
           "null",
           "{}",
           "[]",
           "[3,3]",
           "[1,5]",
           "[0,5]",
           "\"U8\"",
           "\"F32\"",
           "\"I32\"",
           "\"F16\"",
           "\"BF16\"",
           "q.codes",
           "q.mask",
           "q.values",
           "q.group_of",
           "d.mask",
           "d.values",
           "q.zero",
           "q.order",
           "d.weight",
           "9223372036854775807"},
          true,
          load_packed_file};
}

Suite weight_suite() {
  using namespace std::string_literals;
  std::vector<std::string> samples;
  for (const FrozenWeightPtr& w : {freeze_grouped_int(grid_sample()), pruned_sample({}, DType::bf16),
                                   pruned_sample({1, 2}, DType::f32), pruned_sample({}, DType::u8),
                                   pruned_sample({2, 3}, DType::u8), freeze_dense(Tensor::full({2, 3}, 2, DType::f16))})
    samples.push_back(bytes_of(w->pack()));
  return {"weight",
          samples,
          {"\x01\0\0\0\0\0\0\0"s, "\x06\0\0\0\0\0\0\0"s, "\xff\xff\xff\xff\xff\xff\xff\xff"s, "\0\0\0\0\0\0\0\x80"s,
           "\xff\xff\xff\x7f\0\0\0\0"s, "\x03\x06"s, "\x06\x02\x03\x01"s},
          false,
          load_weight};
}

}  // namespace sinter::fuzz
