#include "models/interchange/compressed_tensors.h"

#include "models/weights/formats.h"
#include "test/models/interchange_case.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Json scheme(int bits, const std::string& strategy, std::int64_t group) {
  return {{"num_bits", bits}, {"type", "int"}, {"symmetric", true}, {"strategy", strategy}, {"group_size", group}};
}

Json label(const Json& weights, const std::string& version = "0.17.0") {
  return announced({{"quant_method", "compressed-tensors"},
                    {"format", "pack-quantized"},
                    {"quantization_status", "compressed"},
                    {"version", version},
                    {"config_groups", {{"group_0", {{"targets", {"Linear"}}, {"weights", weights}}}}}});
}

}  // namespace

TEST_CASE("compressed-tensors files of both generations are read with their codes, scales and zeros") {
  for (const char* name :
       {"ct_sym_b2", "ct_sym_b3", "ct_sym_b4", "ct_sym_b8", "ct_asym_b4", "ct_asym_b3_channel", "ct_sym_b5",
        "ct_tensor_b4", "ct_old_asym_b3", "ct_old_asym_b4", "ct_int_b8_channel", "ct_naive_b4"})
    check_golden(name);
}

TEST_CASE("compressed-tensors: sparse bitmasks become our sparse formats, bit for bit") {
  for (const auto& [name, tag] : {std::pair{"ct_sparse_24_bitmask", "n_of_m"}, {"ct_sparse_bitmask", "bitmap"}}) {
    CAPTURE(name);
    GoldenLinear g(name);
    const Packed p = g.model().packed();
    CHECK(p.tag == tag);
    const FrozenWeightPtr w = p.tag == "bitmap" ? load_bitmap(p) : load_n_of_m(p);
    CHECK(distance(w->dense(w->all()), g.expected.at("weight")) == 0);
    CHECK(same_bits(p.parts.at("mask"), g.at("l.bitmask")));
    g.at("l.shape") = Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{32, 72});
    CHECK_THROWS_TEXT(input, "tensor l.bitmask", g.model().packed());
    g.at("l.shape") = Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{32, INT64_MAX});
    CHECK_THROWS_TEXT(input, "tensor l.bitmask", g.model().packed());
  }
  GoldenLinear g("ct_sparse_bitmask");
  g.at("l.compressed") = Tensor::zeros({10}, DType::bf16);
  CHECK_THROWS_TEXT(input, "l.*", g.model().packed());
  GoldenLinear moved("ct_sparse_bitmask");
  moved.at("l.row_offsets") = Tensor::of<std::int64_t>({32}, std::vector<std::int64_t>(32, 1));
  CHECK_THROWS_TEXT(input, "tensor l.row_offsets", moved.model().packed());
}

TEST_CASE("what is written as compressed-tensors is read back bit for bit") {
  for (const int bits : {2, 3, 4, 8})
    for (const std::int64_t group : {std::int64_t(16), std::int64_t(75)})
      for (const bool symmetric : {true, false}) {
        CAPTURE(bits);
        CAPTURE(group);
        const GridLinear w = random_grid(21, 75, bits, group, symmetric, false);
        const ForeignModel m(compressed_tensors("l", w), label(scheme(bits, group == 75 ? "channel" : "group", group)));
        check_same_parts(m.packed(), to_packed(w));
      }
  const GridLinear w = random_grid(21, 75, 4, 15, false, true);
  NamedTensors tensors = compressed_tensors("l", w);
  tensors.emplace_back("l.weight_g_idx", Tensor::of<std::int32_t>({75}, w.group_of));
  check_same_parts(ForeignModel(tensors, label(scheme(4, "group", 15))).packed(), to_packed(w));
}

TEST_CASE("compressed-tensors: the version decides where both layouts have the same size") {
  const GridLinear w = random_grid(8, 10, 3, 10, true, false);  // 30 bits: one word either way, and the same one
  CHECK(same_bits(compressed_tensors("l", w)[0].second, pack_words(w.codes, 1, 3, WordLayout::whole)));
  const GridLinear wide = random_grid(8, 21, 3, 21, true, false);  // 63 bits in two words, or 3 words
  NamedTensors old = compressed_tensors("l", wide);
  old[0].second = pack_words(wide.codes, 1, 3, WordLayout::whole);
  check_same_parts(ForeignModel(old, label(scheme(3, "channel", -1), "0.17.0")).packed(), to_packed(wide));
  CHECK(words_for(11, 5, WordLayout::dense) == words_for(11, 5, WordLayout::whole));  // 2 words, different ones
  Tensor codes = Tensor::empty({8, 11}, DType::u8);
  auto c = codes.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < c.size(); ++i) c[i] = std::uint8_t(i * 5 % 32);
  for (const auto& [version, layout] : {std::pair{"0.16.2", WordLayout::whole}, {"0.18.0", WordLayout::dense}}) {
    const NamedTensors tensors = {
        {"l.weight_packed", pack_words(codes, 1, 5, layout)},
        {"l.weight_scale", Tensor::full({8, 1}, 0.25, DType::bf16)},
        {"l.weight_shape", Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{8, 11})}};
    const auto read = from_packed(ForeignModel(tensors, label(scheme(5, "channel", -1), version)).packed());
    CHECK(same_bits(read->codes, codes));
    CHECK(read->bits == 8);
    CHECK(read->zero.data<std::uint8_t>()[0] == 16);
    CHECK(read->scale.dtype() == DType::f16);
  }
}

TEST_CASE("compressed-tensors: targets find their scheme by name, pattern, class, in this order") {
  NamedTensors tensors;
  for (const auto& [name, bits] : {std::pair{"l", 4}, {"a.q_proj", 8}, {"a.k_proj", 2}})
    for (auto& t : compressed_tensors(name, random_grid(8, 32, bits, 32, true, false))) tensors.push_back(t);
  Json config = label(scheme(4, "channel", -1));
  Json& groups = config["quantization_config"]["config_groups"];
  groups["group_1"] = {{"targets", {"re:.*_proj"}}, {"weights", scheme(8, "channel", -1)}};
  groups["group_2"] = {{"targets", {"a.k_proj"}}, {"weights", scheme(2, "channel", -1)}};
  const ForeignModel m(tensors, config);
  const Checkpoint files(m.dir.path());
  CHECK(files.packed("l")->fields.at("bits") == 4);
  CHECK(files.packed("a.q_proj")->fields.at("bits") == 8);
  CHECK(files.packed("a.k_proj")->fields.at("bits") == 2);
  groups.erase("group_0");
  CHECK_THROWS_TEXT(input, "no targets name l", ForeignModel(tensors, config).packed());
}

TEST_CASE("compressed-tensors: what cannot be read is refused by field or tensor") {
  const GoldenLinear g("ct_asym_b4");
  const auto with = [&](const std::string& name, const Tensor& t) {
    GoldenLinear changed = g;
    changed.at(name) = t;
    return changed.model().packed();
  };
  const auto configured = [&](const std::string& pointer, const Json& value) {
    Json config = g.config;
    config[Json::json_pointer("/quantization_config" + pointer)] = value;
    return ForeignModel(g.tensors, config).packed();
  };
  CHECK_THROWS_TEXT(input, "tensor l.weight_packed", with("l.weight_packed", Tensor::zeros({32, 8}, DType::f32)));
  CHECK_THROWS_TEXT(input, "tensor l.weight_packed",
                    with("l.weight_packed", Tensor::of<std::int32_t>({32, 3}, std::vector<std::int32_t>(96))));
  CHECK_THROWS_TEXT(input, "tensor l.weight_scale", with("l.weight_scale", Tensor::zeros({32, 3}, DType::f32)));
  CHECK_THROWS_TEXT(input, "tensor l.weight_scale", with("l.weight_scale", Tensor::full({32, 2}, NAN, DType::f32)));
  CHECK_THROWS_TEXT(input, "tensor l.weight_zero_point",
                    with("l.weight_zero_point", Tensor::of<std::int32_t>({1, 2}, std::array{0, 0})));
  for (const std::int64_t columns : {INT64_MAX, std::int64_t(-1), std::int64_t(0), std::int64_t(4000)})
    CHECK_THROWS_TEXT(input, "tensor l.weight_shape",
                      with("l.weight_shape", Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{32, columns})));
  CHECK_THROWS_TEXT(input, "field format", configured("/format", "marlin-24"));
  CHECK_THROWS_TEXT(input, "float-quantized", configured("/format", "float-quantized"));
  CHECK_THROWS_TEXT(input, "quantization_status", configured("/quantization_status", "frozen"));
  CHECK_THROWS_TEXT(input, "num_bits", configured("/config_groups/group_0/weights/num_bits", 9));
  CHECK_THROWS_TEXT(input, "strategy", configured("/config_groups/group_0/weights/strategy", "block"));
  CHECK_THROWS_TEXT(input, "type", configured("/config_groups/group_0/weights/type", "float"));
  CHECK_THROWS_TEXT(input, "targets", configured("/config_groups/group_0/targets", {"re:("}));
  CHECK_THROWS_TEXT(input, "transform_config", configured("/transform_config", {{"config_groups", {{"R1", 1}}}}));
  Json rounded = g.config;
  rounded["quantization_config"]["config_groups"]["group_0"]["input_activations"] = {{"num_bits", 8}};
  CHECK(Checkpoint(ForeignModel(g.tensors, rounded).dir.path()).warnings().size() == 1);
}
