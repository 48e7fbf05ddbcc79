#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/tensor_store.h"
#include "test/check.h"
#include "test/resident.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "test/torch_pickle.h"

using namespace sinter;
using namespace sinter::test;
using namespace std::string_literals;

namespace {

// Element i of the golden files' tensors; make_bin.py.
double value(std::int64_t i) { return double(i * 37 % 64 - 32) / 16; }

template <class F>
void check_values(const Tensor& t, Shape shape, DType dtype, F&& index) {
  CHECK(t.shape() == shape);
  CHECK(t.dtype() == dtype);
  for (std::int64_t i = 0; i < t.numel(); ++i) CHECK(value_at(t, i) == value(index(i)));
}
std::int64_t same(std::int64_t i) { return i; }

template <class T>
std::vector<T> all(const Tensor& t) {
  return {t.data<T>().begin(), t.data<T>().end()};
}

struct File {
  TempDir dir;
  std::filesystem::path path = dir / "x.bin";
  File(const std::string& pickle, std::size_t bytes = 24, const std::vector<ZipMember>& more = {}) {
    std::vector<ZipMember> members{{"r/data.pkl", pickle}, {"r/data/0", std::string(bytes, '\0')}};
    members.insert(members.end(), more.begin(), more.end());
    write_text_atomic(path, zip_file(members));
  }
  std::unique_ptr<TensorStore> open() const { return open_bin(path); }
};

}  // namespace

TEST_CASE("what torch.save wrote: every type, ties, Parameters and views, aligned or not") {
  for (const char* name : {"bin/mixed.bin", "bin/zip64.bin"}) {
    CAPTURE(name);
    const auto store = open_bin(golden(name));
    const auto get = [&](const char* tensor) { return store->tensor(tensor); };
    CHECK(store->names().size() == 19);
    check_values(get("plain"), {3, 4}, DType::f32, same);
    check_values(get("tied"), {3, 4}, DType::f32, same);
    check_values(get("parameter"), {2, 3}, DType::f32, same);
    check_values(get("frozen"), {2}, DType::f32, same);
    check_values(get("transposed"), {4, 3}, DType::f32, [](auto i) { return i % 3 * 4 + i / 3; });
    check_values(get("window"), {3, 3}, DType::f32, [](auto i) { return (1 + i / 3) * 6 + 2 + i % 3; });
    check_values(get("rows"), {2, 6}, DType::f32, [](auto i) { return 12 + i; });
    check_values(get("step"), {5}, DType::f32, [](auto i) { return 1 + 7 * i; });
    check_values(get("half"), {7}, DType::f16, same);
    check_values(get("brain"), {7}, DType::bf16, same);
    check_values(get("double"), {2}, DType::f64, same);
    CHECK(all<std::int64_t>(get("long")) == std::vector<std::int64_t>{1, -2, std::int64_t(1) << 40});
    CHECK(all<std::int32_t>(get("int")) == std::vector<std::int32_t>{-3});
    CHECK(all<std::int8_t>(get("char")) == std::vector<std::int8_t>{-4});
    CHECK(all<std::uint8_t>(get("byte")) == std::vector<std::uint8_t>{250});
    CHECK(all<std::uint8_t>(get("bool")) == std::vector<std::uint8_t>{1, 0, 1});
    CHECK(get("scalar").shape() == Shape{});
    CHECK(all<float>(get("scalar")) == std::vector<float>{0.5f});
    CHECK(get("empty").shape() == Shape{0, 3});
    CHECK_THROWS_TEXT(input, "tensor short: has type I16, which is not supported", get("short"));
    CHECK_THROWS_TEXT(input, "tensor other is missing", get("other"));
    CHECK(store->note().ends_with(": skipped 1 values that are no tensors: step_count"));
  }
  const auto store = open_bin(golden("bin/mixed.bin"));
  CHECK(store->tensor("tied").raw() == store->tensor("plain").raw());  // mapped, not copied
}

TEST_CASE("a storage may begin anywhere; what is not aligned is copied") {
  TempDir dir;
  const float values[] = {1, 2, 3};
  int borrowed = 0;
  for (std::string root = "r"; root.size() <= 4; root += 'r') {
    const std::string bytes(reinterpret_cast<const char*>(values), sizeof values);
    write_text_atomic(dir / root, zip_file({{root + "/data/0", bytes},
                                            {root + "/data.pkl", pickled_state(pickled_tensor(3, 0, {3}, {1}))}}));
    const auto store = open_bin(dir / root);
    const Tensor a = store->tensor("w"), b = store->tensor("w");
    CHECK(reinterpret_cast<std::uintptr_t>(a.raw()) % 4 == 0);
    CHECK(all<float>(a) == std::vector<float>{1, 2, 3});
    borrowed += a.raw() == b.raw();
  }
  CHECK(borrowed == 1);
}

TEST_CASE("pages of a tensor can be given back, and are read again") {
  TempDir dir;
  const std::vector<float> values(300000, 0.5f);
  const std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  // With a root of the right length the storage begins at a multiple of four, so that it is not copied.
  for (std::string root = "r"; root.size() <= 4; root += 'r') {
    const std::string pickle = pickled_state(pickled_tensor(300000, 0, {300000}, {1}));
    write_text_atomic(dir / root, zip_file({{root + "/data/0", bytes}, {root + "/data.pkl", pickle}}));
    const auto store = open_bin(dir / root);
    const Tensor t = store->tensor("w");
    if (t.raw() != store->tensor("w").raw()) continue;
    CHECK(all<float>(t) == values);
    CHECK(resident_kib(t) >= 1100);
    t.release_pages();
    CHECK(resident_kib(t) <= 16);
    CHECK(all<float>(t) == values);
  }
}

TEST_CASE("a dict inside of what a training script saved, and a module of one parameter") {
  const auto nested = open_bin(golden("bin/nested.bin"));
  CHECK(nested->names() == std::vector<std::string>{"w"});
  check_values(nested->tensor("w"), {2, 2}, DType::f32, same);
  CHECK(nested->note().ends_with(": skipped 3 values that are no tensors: epoch, loss, seed"));
  const auto prompt = open_bin(golden("bin/soft_prompt.model"));
  CHECK(prompt->names() == std::vector<std::string>{"weight"});
  check_values(prompt->tensor("weight"), {3, 8}, DType::f32, same);
  CHECK(prompt->note().empty());
}

TEST_CASE("files that are refused say why") {
  CHECK_THROWS_TEXT(input, "legacy.bin: has the format of PyTorch before 1.6", open_bin(golden("bin/legacy.bin")));
  CHECK_THROWS_TEXT(input, "names torch.nn.modules.linear.Linear", open_bin(golden("bin/module.bin")));
  CHECK_THROWS_TEXT(input, "is no zip archive", open_bin(golden("bin/llama_safetensors/model.safetensors")));
  CHECK_THROWS_TEXT(input, "cannot be opened", open_bin("/nowhere/x.bin"));
  CHECK_THROWS_TEXT(input, "byteorder is not \"little\"",
                    File(pickled_state(pickled_tensor(6, 0, {2}, {1})), 24, {{"r/byteorder", "big"}}).open());
  CHECK_THROWS_TEXT(input, "more than one data.pkl", File(pickled_state("N"), 4, {{"s/data.pkl", "N."}}).open());
  TempDir dir;
  write_text_atomic(dir / "x", zip_file({{"data.pkl", "N."}, {"a/b/data.pkl", "N."}}));
  CHECK_THROWS_TEXT(input, "without data.pkl", open_bin(dir / "x"));
}

TEST_CASE("a LLaMA as one .bin and as two gives the weights and the logits of its safetensors") {
  const auto expected = load_model(golden("bin/llama_safetensors"));
  const std::vector<std::int32_t> ids{1, 5, 9, 13, 2};
  const Layout layout = Layout::one(5);
  const Context ctx;
  const auto logits = [&](const CausalLM& m) {
    return m.logits(ctx, m.run(ctx, m.enter(ctx, m.embed(ctx, ids), layout), m.all(), layout)).value();
  };
  for (const char* name : {"bin/llama_one", "bin/llama_shards"}) {
    CAPTURE(name);
    const auto model = load_model(golden(name));
    CHECK(same_bits(logits(*model), logits(*expected)));
    CHECK(source_dtype(*model) == DType::f16);
    const Checkpoint a{golden(name)}, b{golden("bin/llama_safetensors")};
    CHECK(a.names() == b.names());
    for (const auto& tensor : a.names()) CHECK(same_bits(a.tensor(tensor), b.tensor(tensor)));
    CHECK(a.warnings().empty());
  }
}

TEST_CASE("safetensors are preferred; without either file the message names both") {
  TempDir dir;
  std::filesystem::copy(golden("bin/llama_safetensors"), dir.path(), std::filesystem::copy_options::recursive);
  write_text_atomic(dir / "pytorch_model.bin", "worthless");
  CHECK(Checkpoint(dir.path()).has("lm_head.weight"));
  std::filesystem::remove(dir / "model.safetensors");
  CHECK_THROWS_TEXT(input, "pytorch_model.bin: is no zip archive", Checkpoint(dir.path()));
  std::filesystem::remove(dir / "pytorch_model.bin");
  CHECK_THROWS_TEXT(input, "holds neither model.safetensors nor pytorch_model.bin", Checkpoint(dir.path()));
  write_text_atomic(dir / "pytorch_model.bin.index.json", R"({"weight_map":{"w":"a.bin"}})");
  CHECK_THROWS_TEXT(input, "a.bin: cannot be opened", Checkpoint(dir.path()));
  write_text_atomic(dir / "a.bin", read_text(golden("bin/llama_one/pytorch_model.bin")));
  CHECK_THROWS_TEXT(input, "tensor w is missing, although pytorch_model.bin.index.json promises it",
                    Checkpoint(dir.path()));
}

TEST_CASE("views must lie in their storage, and storages in their member") {
  const auto refused = [](const std::string& value, const char* why) {
    CHECK_THROWS_TEXT(input, why, File(pickled_state(value)).open());
  };
  const File sound(pickled_state(pickled_tensor(6, 1, {2, 2}, {2, 1})));
  CHECK(sound.open()->tensor("w").shape() == Shape{2, 2});
  constexpr std::int64_t kHuge = INT64_MAX, kHalf = std::int64_t(1) << 62;
  refused(pickled_tensor(7, 0, {1}, {1}), "its storage of 7 elements has 24 bytes of type F32");
  refused(pickled_tensor(kHuge, 0, {1}, {1}), "its storage");
  refused(pickled_tensor(-1, 0, {0}, {1}), "its storage");
  refused(pickled_tensor(6, 0, {7}, {1}), "beyond its storage of 6 elements");
  refused(pickled_tensor(6, 5, {2}, {1}), "beyond its storage");
  refused(pickled_tensor(6, -1, {2}, {1}), "beyond its storage");
  refused(pickled_tensor(6, kHuge, {2}, {1}), "beyond its storage");
  refused(pickled_tensor(6, 0, {2}, {kHuge}), "beyond its storage");
  refused(pickled_tensor(6, 4, {2}, {kHuge}), "beyond its storage");
  refused(pickled_tensor(6, 0, {3, kHalf}, {0, 4}), "beyond its storage");
  refused(pickled_tensor(6, 0, {kHalf, 4}, {0, 0}), "beyond its storage");
  refused(pickled_tensor(6, 0, {7}, {0}),
          "beyond its storage");  // more elements than there are: a small file, a large copy
  refused(pickled_tensor(6, 0, {kHalf, kHalf, 0}, {0, 0, 0}), "beyond its storage");
  refused(pickled_tensor(6, 0, {2}, {-1}), "no sound size and stride");
  refused(pickled_tensor(6, 0, {-2}, {1}), "no sound size and stride");
  refused(pickled_tensor(6, 0, {2, 2}, {1}), "has 2 dimensions and 1 strides");
  refused(pickled_tensor(6, 0, std::vector<std::int64_t>(7, 1), std::vector<std::int64_t>(7, 1)), "has 7 dimensions");
  refused(pickled_tensor(6, 0, {2}, {1}, "ctorch\nSize\n"), "torch.Size is no storage");
  refused(pickled_tensor(6, 0, {2}, {1}, pickled("float"s)), "described in an unknown way");
  refused(pickled_tensor(6, 0, {2}, {1}, "ctorch\nFloatStorage\n", "1"), "missing in the archive");
  refused(pickled_tensor(6, 0, {2}, {1}, "ctorch\nFloatStorage\n", "../data/0"), "missing in the archive");
  const File repeats(pickled_state(pickled_tensor(6, 0, {2, 3}, {0, 1})));
  CHECK(repeats.open()->tensor("w").numel() == 6);
}

TEST_CASE("what describes no tensor") {
  const auto refused = [](const std::string& value, const char* why) {
    CHECK_THROWS_TEXT(input, why, File(pickled_state(value)).open());
  };
  const std::string view = pickled_tensor(6, 0, {2}, {1});
  refused("ctorch\nSize\n)R", "tensor w: is made by torch.Size");
  refused("ctorch._utils\n_rebuild_tensor_v2\n)R", "unknown arguments");
  refused("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR", "unknown arguments");
  refused(kParameter + ")R", "unknown arguments");
  refused(kParameter + "NNN\x87R", "wraps no tensor");
  refused("ctorch._tensor\n_rebuild_from_type_v2\n)R", "unknown arguments");
  std::string deep = view;
  for (int i = 0; i < 20; ++i) deep = kParameter + deep + "\x88N\x87R";
  CHECK(File(pickled_state(deep)).open()->has("w"));
  for (int i = 0; i < 50; ++i) deep = kParameter + deep + "\x88N\x87R";
  refused(deep, "wraps no tensor");
  const std::string subclass =
      "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n";
  CHECK(File(pickled_state(subclass + view.substr(view.find('('), view.size() - view.find('(') - 1) + "NtR"))
            .open()
            ->has("w"));
  CHECK_THROWS_TEXT(input, "stands twice", File("}" + pickled("w"s) + view + "s" + pickled("w"s) + view + "s.").open());
  CHECK_THROWS_TEXT(input, "no UTF-8", File("}" + pickled("\xff"s) + view + "s.").open());
  CHECK_THROWS_TEXT(input, "longer than 256 bytes", File("}" + pickled(std::string(300, 'a')) + view + "s.").open());
  CHECK_THROWS_TEXT(input, "holds no dict of tensors but one call of torch._utils._rebuild_tensor_v2",
                    File(view + ".").open());
  CHECK_THROWS_TEXT(input, "holds no dict of tensors", File("].").open());
  CHECK_THROWS_TEXT(input, "nn.Embedding without weight", File("ctorch.nn.modules.sparse\nEmbedding\n)\x81.").open());
}

TEST_CASE("a pickle of a megabyte that names one tensor again and again is refused before memory grows") {
  std::string pickle = "}" + pickled("0"s) + pickled_tensor(6, 0, {2}, {1}) + "\x94s";
  for (int i = 1; i <= 1 << 16; ++i) pickle += pickled(std::to_string(i)) + "h\0s"s;
  CHECK_THROWS_TEXT(input, "more than 65536 tensors", File(pickle + ".").open());
}
