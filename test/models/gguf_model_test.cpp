#include <doctest/doctest.h>

#include "core/basic_kernels.h"
#include "core/tensor_file.h"
#include "models/tensor_store.h"
#include "models/weights/formats.h"
#include "test/models/gguf_fixture.h"
#include "test/resident.h"

using namespace sinter;
using namespace sinter::test;

namespace {

const std::vector<std::int32_t> kIds = {3, 14, 15, 9, 2, 6, 5, 3, 5, 8};

Linear& linear_of(CausalLM& model, const std::string& name) {
  Linear* found = nullptr;
  model.each_linear([&](Linear& l) {
    if (l.name() == name) found = &l;
  });
  REQUIRE(found != nullptr);
  return *found;
}

const GgufTensor& tensor_of(const std::vector<GgufTensor>& report, const std::string& name) {
  const auto it = std::ranges::find(report, name, &GgufTensor::name);
  REQUIRE(it != report.end());
  return *it;
}

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";

// One linear of a random model replaced by `w`, through a file in the automatic type and back.
struct Replaced {
  GgufTensor written;
  Tensor before, after;
};
Replaced through_file(FrozenWeightPtr w, GgufType type = GgufType::automatic) {
  TempDir dir;
  write_random_model(dir.path(), "json_llama3", {{"num_key_value_heads", 4}});
  const auto model = load_model(dir.path());
  Linear& l = linear_of(*model, kQ);
  l.replace(std::move(w));
  const auto report = write_gguf(*model, dir.path(), dir / "m.gguf", {type, {}});
  const auto back = load_model(dir / "m.gguf");
  return {tensor_of(report, kQ), l.dense(), linear_of(*back, kQ).dense()};
}

// 64 x 64 with the given grid; codes and zeros run through all values below 2^bits, or zero is fixed.
FrozenWeightPtr grid(int bits, std::int64_t group, DType scales, int zero = -1) {
  const std::int64_t m = 64, n = 64, G = (n + group - 1) / group;
  Tensor codes = Tensor::empty({m, n}, DType::u8), zeros = Tensor::empty({m, G}, DType::u8);
  Tensor scale = Tensor::empty({m, G}, DType::f32);
  for (std::int64_t i = 0; i < m * n; ++i)
    codes.mutable_data<std::uint8_t>()[std::size_t(i)] = std::uint8_t(i * 7 % (1 << bits));
  for (std::int64_t i = 0; i < m * G; ++i) {
    zeros.mutable_data<std::uint8_t>()[std::size_t(i)] = std::uint8_t(zero < 0 ? i * 5 % (1 << bits) : zero);
    scale.mutable_data<float>()[std::size_t(i)] = 0.01f + 0.001f * float(i % 13);
  }
  if (scales == DType::f16) scale = cast(scale, DType::f16);
  return freeze_grouped_int({.rows = m,
                             .cols = n,
                             .group = group,
                             .bits = bits,
                             .codes = pack_codes(codes, bits),
                             .scale = scale,
                             .zero = zeros,
                             .order = {}});
}

}  // namespace

TEST_CASE("a model goes into GGUF and comes back with the same configuration and the same logits") {
  for (const char* name : {"llama_mha_untied", "llama_gqa_tied", "llama_rope_llama3", "llama_rope_linear",
                           "llama_theta_old", "llama_head_dim", "llama_bias", "llama_bf16_sharded", "llama_f16"}) {
    CAPTURE(name);
    TempDir dir;
    copy_golden(name, dir.path());
    const auto model = load_model(dir.path());
    for (const auto& t : write_gguf(*model, dir.path(), dir / "m.gguf")) CHECK(t.error == 0);
    const auto back = load_model(dir / "m.gguf");
    const ModelConfig &a = model->config(), &b = back->config();
    CHECK(a.norm_eps == b.norm_eps);
    CHECK(a.max_positions == b.max_positions);
    CHECK(a.tied == b.tied);
    CHECK(a.attention_bias == b.attention_bias);
    CHECK(a.mlp_bias == b.mlp_bias);
    CHECK(rope_frequencies(a) == rope_frequencies(b));
    CHECK(same_bits(logits_of(*back, kIds), logits_of(*model, kIds)));
  }
}

TEST_CASE("a file of llama.cpp's own package holds the tensors that it should, under Hugging Face names") {
  const Checkpoint files(golden("gguf/tiny.gguf"));
  const auto model = load_model(golden("gguf/tiny.gguf"));
  const TensorFile want(golden("gguf/tiny.safetensors"));
  int seen = 0;
  const auto check = [&](const std::string& name, const Tensor& t) {
    CAPTURE(name);
    CHECK(same_bits(t, want.tensor(name)));
    ++seen;
  };
  model->each_linear([&](Linear& l) { check(l.name() + ".weight", l.dense()); });
  model->each_weight([&](const std::string& name, Weight& w) { check(name, values(w)); });
  model->each_matrix([&](const std::string& name, Matrix& m) { check(name, values(m)); });
  CHECK(seen == int(want.names().size()));
  for (const auto& name : files.names()) CHECK(files.tensor(name).numel() > 0);
  CHECK(files.tensor(std::string(kQ) + ".codes").shape() == Shape{32, 32});
  CHECK_THROWS_TEXT(input, "tensor x is missing", files.tensor("x"));
  CHECK(Tokenizer::load(golden("gguf/tiny.gguf"))->encode("the thing") ==
        std::vector<std::int32_t>{1, 262, 260, 271, 264});
}

TEST_CASE("grids that a block format holds are written exactly, with their zeros anywhere") {
  const struct {
    int bits;
    std::int64_t group;
    int zero;
    const char* type;
  } cases[] = {{4, 32, 8, "Q4_0"},  {4, 64, 8, "Q4_0"},  {3, 32, 4, "Q4_0"},   {3, 64, -1, "Q4_0"},
               {2, 32, -1, "Q4_0"}, {4, 32, -1, "Q8_0"}, {8, 64, 128, "Q8_0"}, {4, 32, 7, "Q8_0"}};
  for (const auto& c : cases) {
    CAPTURE(c.bits);
    CAPTURE(c.zero);
    const Replaced r = through_file(grid(c.bits, c.group, DType::f16, c.zero));
    CHECK(r.written.type == c.type);
    CHECK(r.written.error == 0);
    CHECK(distance(r.after, r.before) == 0);
  }
}

TEST_CASE("grids that no block format holds are rounded, and the error is told") {
  const Replaced wide = through_file(grid(8, 64, DType::f16, -1));
  CHECK(wide.written.type == "F16");
  const Replaced narrow = through_file(grid(4, 16, DType::f16, 8));
  CHECK(narrow.written.type == "F16");
  const Replaced f32 = through_file(grid(4, 32, DType::f32, 8));
  CHECK(f32.written.type == "Q4_0");  // the codes stay, the scales are rounded
  for (const Replaced* r : {&wide, &narrow, &f32}) {
    CHECK(r->written.error < 5e-4);
    CHECK(std::sqrt(nmse(r->after, r->before)) == doctest::Approx(r->written.error).epsilon(1e-6));
  }
  CHECK(f32.written.error > 1e-6);
  const Replaced forced = through_file(grid(8, 32, DType::f16, 128), GgufType::q4_0);
  CHECK(forced.written.type == "Q4_0");
  CHECK(forced.written.error > 0.01);
  CHECK(forced.written.error < 0.2);
}

TEST_CASE("zeros stay zeros in every type") {
  Tensor w = randn({64, 64}, 9, DType::f32);
  for (std::int64_t i = 0; i < w.numel(); i += 1 + i % 3) w.mutable_data<float>()[std::size_t(i)] = 0;
  for (const GgufType type :
       {GgufType::automatic, GgufType::f32, GgufType::f16, GgufType::bf16, GgufType::q8_0, GgufType::q4_0}) {
    const Replaced r = through_file(freeze_dense(w), type);
    for (std::int64_t i = 0; i < w.numel(); ++i)
      if (value_at(w, i) == 0) CHECK(value_at(r.after, i) == 0);
  }
}

TEST_CASE("a type that is asked for holds for all matrices that it fits") {
  TempDir dir;
  write_random_model(dir.path(), "json_llama3", {{"intermediate_size", 72}});
  const auto model = load_model(dir.path());
  const auto report = write_gguf(*model, dir.path(), dir / "m.gguf", {GgufType::q4_0, "name"});
  CHECK(tensor_of(report, "model.embed_tokens").type == "Q8_0");
  CHECK(tensor_of(report, "lm_head").type == "Q8_0");
  CHECK(tensor_of(report, "model.layers.1.mlp.up_proj").type == "Q4_0");
  CHECK(tensor_of(report, "model.layers.1.mlp.down_proj").type == "F16");  // 72 columns are no whole blocks
  const auto back = load_model(dir / "m.gguf");
  CHECK(std::sqrt(nmse(linear_of(*back, kQ).dense(), linear_of(*model, kQ).dense())) ==
        doctest::Approx(tensor_of(report, kQ).error).epsilon(1e-6));
}

TEST_CASE("what was read is written again with the same bytes") {
  TempDir dir;
  const auto tiny = golden("gguf/tiny.gguf");
  write_gguf(*load_model(tiny), tiny, dir / "a.gguf", {GgufType::automatic, "tiny"});
  write_gguf(*load_model(dir / "a.gguf"), dir / "a.gguf", dir / "b.gguf", {GgufType::automatic, "tiny"});
  CHECK(read_text(dir / "a.gguf") == read_text(dir / "b.gguf"));
  CHECK(same_bits(logits_of(*load_model(dir / "b.gguf"), kIds), logits_of(*load_model(tiny), kIds)));
}

TEST_CASE("the directory made from a GGUF file is the same model") {
  TempDir dir;
  const auto tiny = golden("gguf/tiny.gguf");
  const auto model = load_model(tiny);
  copy_model_files(tiny, dir.path(), Json::object());
  save_weights(*model, dir.path());
  CHECK(same_bits(logits_of(*load_model(dir.path()), kIds), logits_of(*model, kIds)));
  CHECK(Tokenizer::load(dir.path())->encode("the thing \xc3\xa9") ==
        Tokenizer::load(tiny)->encode("the thing \xc3\xa9"));
}

TEST_CASE("what llama.cpp or we have no place for is refused by name") {
  TempDir dir;
  copy_golden("opt_pre_norm", dir.path());
  const auto opt = load_model(dir.path());
  CHECK_THROWS_TEXT(unsupported, "llama.cpp has no OPT", write_gguf(*opt, dir.path(), dir / "m.gguf"));
  CHECK_THROWS_TEXT(unsupported, "llama.cpp has no OPT", check_gguf(opt->config(), dir.path()));
  CHECK_FALSE(std::filesystem::exists(dir / "m.gguf"));

  const std::string tiny = read_text(golden("gguf/tiny.gguf"));
  const auto patched = [&](std::string_view from, std::string_view to) {
    std::string bytes = tiny;
    bytes.replace(bytes.find(from), from.size(), to);
    write_text_atomic(dir / "p.gguf", bytes);
    return dir / "p.gguf";
  };
  CHECK_THROWS_TEXT(input, "general.architecture is \"gemma\", expected llama", load_model(patched("llama", "gemma")));
  CHECK_THROWS_TEXT(input, "key tokenizer.ggml.model is missing",
                    Tokenizer::load(patched("tokenizer.ggml.model", "tokenizer.ggml.xxxxx")));
  CHECK_THROWS_TEXT(input, "is not one of a LLaMA model",
                    load_model(patched("blk.0.ffn_up.weight", "blk.0.ffn_xx.weight")));
  CHECK_THROWS_TEXT(input, "key llama.block_count is missing",
                    load_model(patched("llama.block_count", "llama.block_xxxxx")));
}

TEST_CASE("weights that are not finite are refused before the file appears") {
  TempDir dir;
  write_random_model(dir.path(), "json_llama3", {{"num_key_value_heads", 4}});
  const auto model = load_model(dir.path());
  linear_of(*model, kQ).replace(freeze_dense(Tensor::full({64, 64}, NAN, DType::f32)));
  CHECK_THROWS_TEXT(input, "not finite", write_gguf(*model, dir.path(), dir / "m.gguf"));
  CHECK_FALSE(std::filesystem::exists(dir / "m.gguf"));
}

TEST_CASE("pages of a tensor in a .gguf file can be given back, and are read again") {
  TempDir dir;
  write_random_model(dir.path(), "json_llama3");
  write_gguf(*load_model(dir.path()), dir.path(), dir / "m.gguf", {GgufType::f32, {}});
  const auto store = open_gguf(dir / "m.gguf");
  const Tensor t = store->tensor("model.layers.0.mlp.up_proj.weight"), copy = t.clone();
  const long before = resident_kib(t);
  t.release_pages();
  CHECK(resident_kib(t) <= before - long(t.bytes() / 1024));
  CHECK(same_bits(t, copy));
}
