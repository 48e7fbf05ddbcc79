#include "models/interchange/gptq.h"

#include "models/weights/formats.h"
#include "test/models/interchange_case.h"

using namespace sinter;
using namespace sinter::test;

namespace {

Json gptq_label(int bits, std::int64_t group, const std::string& format, bool sym, bool act = false) {
  return announced({{"quant_method", "gptq"},
                    {"bits", bits},
                    {"group_size", group},
                    {"sym", sym},
                    {"desc_act", act},
                    {"checkpoint_format", format}});
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const auto& l : lines) all += l + "\n";
  return all;
}

std::vector<std::uint32_t> words(const NamedTensors& tensors, const std::string& name) {
  for (const auto& [n, t] : tensors)
    if (n == name) return {t.data<std::int32_t>().begin(), t.data<std::int32_t>().end()};
  return {};
}

}  // namespace

TEST_CASE("GPTQ files of AutoGPTQ and GPTQModel are read with their codes, scales and zeros") {
  for (const char* name :
       {"gptq_v1_sym_b2", "gptq_v1_sym_b3", "gptq_v1_sym_b4", "gptq_v1_sym_b8", "gptq_v1_asym_b4", "gptq_v2_asym_b2",
        "gptq_v2_asym_b3", "gptq_v2_asym_b4", "gptq_v2_asym_b8", "gptq_v1_act_b4", "gptq_v2_act_b3"})
    check_golden(name);
}

TEST_CASE("what is written as GPTQ is read back bit for bit") {
  for (const int bits : {2, 3, 4, 8})
    for (const std::int64_t group : {std::int64_t(32), std::int64_t(40), std::int64_t(96)})
      for (const bool symmetric : {true, false})
        for (const bool order : {false, true}) {
          CAPTURE(bits);
          CAPTURE(group);
          CAPTURE(symmetric);
          CAPTURE(order);
          const GridLinear w = random_grid(64, 96, bits, group, symmetric, order);
          const int version = symmetric ? 1 : 2;
          const ForeignModel m(gptq_tensors("l", w, version), gptq_label(bits, group == 96 ? -1 : group,
                                                                         version == 1 ? "gptq" : "gptq_v2", symmetric));
          CHECK(Checkpoint(m.dir.path()).warnings().empty());
          check_same_parts(m.packed(), to_packed(w));
        }
}

TEST_CASE("a symmetric model's zeros are the known words") {
  const auto zeros = [](int bits, int version) {
    return words(gptq_tensors("l", random_grid(32, 32, bits, 32, true, false), version), "l.qzeros");
  };
  CHECK(zeros(4, 1) == std::vector<std::uint32_t>(4, 0x77777777));
  CHECK(zeros(4, 2) == std::vector<std::uint32_t>(4, 0x88888888));
  CHECK(zeros(3, 1) == std::vector<std::uint32_t>{0xdb6db6db, 0xb6db6db6, 0x6db6db6d});
  CHECK(zeros(3, 2) == std::vector<std::uint32_t>{0x24924924, 0x49249249, 0x92492492});
  GridLinear w = random_grid(32, 32, 4, 32, true, false);
  for (auto& z : w.zero.mutable_data<std::uint8_t>()) z = 0;
  CHECK(words(gptq_tensors("l", w, 1), "l.qzeros") == std::vector<std::uint32_t>(4, 0xffffffff));
}

TEST_CASE("GPTQ: where the label contradicts the zeros, the zeros are right, with a warning") {
  for (const int bits : {2, 3, 4, 8})
    for (const int written : {1, 2}) {
      CAPTURE(bits);
      CAPTURE(written);
      const GridLinear w = random_grid(32, 64, bits, 32, true, false);
      const ForeignModel m(gptq_tensors("l", w, written),
                           gptq_label(bits, 32, written == 1 ? "gptq_v2" : "gptq", true));
      const Checkpoint files(m.dir.path());
      CHECK(joined(files.warnings()).find("says GPTQ version " + std::to_string(3 - written)) != std::string::npos);
      check_same_parts(*files.packed("l"), to_packed(w));
    }
  const GridLinear w = random_grid(32, 64, 4, 32, false, false);
  const ForeignModel asymmetric(gptq_tensors("l", w, 2), gptq_label(4, 32, "gptq_v2", true));
  CHECK(joined(Checkpoint(asymmetric.dir.path()).warnings()).find("asymmetric") != std::string::npos);
  check_same_parts(asymmetric.packed(), to_packed(w));
  const ForeignModel wrapped(gptq_tensors("l", w, 1), gptq_label(4, 32, "gptq", false));
  CHECK(joined(Checkpoint(wrapped.dir.path()).warnings()).find("zeros are 0") != std::string::npos);
  check_same_parts(wrapped.packed(), to_packed(w));
  Json unlabelled = gptq_label(4, 32, "gptq", true);
  unlabelled["quantization_config"].erase("sym");
  const ForeignModel m(gptq_tensors("l", random_grid(32, 64, 4, 32, true, false), 1), unlabelled);
  CHECK(joined(Checkpoint(m.dir.path()).warnings()).find("sym is missing") != std::string::npos);
}

TEST_CASE("GPTQ: groups of uneven sizes become dense weights of the same values") {
  GridLinear w = random_grid(32, 64, 4, 32, false, true);
  for (std::size_t j = 0; j < 40; ++j) w.group_of[j] = 1;
  const ForeignModel m(gptq_tensors("l", w, 2), gptq_label(4, 32, "gptq_v2", false, true));
  const Packed p = m.packed();
  REQUIRE(p.tag == "dense");
  const auto values = p.parts.at("weight").data<float>();
  for (std::size_t i = 0; i < 32; ++i)
    for (std::size_t j = 0; j < 64; ++j) {
      const std::size_t g = i * 2 + std::size_t(w.group_of[j]), at = i * 64 + j;
      const int steps = int(w.codes.data<std::uint8_t>()[at]) - int(w.zero.data<std::uint8_t>()[g]);
      CHECK(values[at] == to_float(w.scale.data<f16>()[g]) * float(steps));
    }
}

TEST_CASE("GPTQ: linears may differ, by GPTQModel's field dynamic") {
  NamedTensors tensors = gptq_tensors("l", random_grid(32, 64, 8, 64, true, false), 1);
  for (auto& t : gptq_tensors("other", random_grid(32, 64, 4, 32, true, false), 1)) tensors.push_back(t);
  Json config = gptq_label(4, 32, "gptq", true);
  config["quantization_config"]["dynamic"] = {{"-:lm_head", Json::object()},
                                              {"+:^l$", {{"bits", 8}, {"group_size", -1}}}};
  const ForeignModel m(tensors, config);
  CHECK(m.packed().fields.at("bits") == 8);
  CHECK(Checkpoint(m.dir.path()).packed("other")->fields.at("group") == 32);
  CHECK_FALSE(Checkpoint(m.dir.path()).packed("absent"));
}

TEST_CASE("GPTQ weights are found under AutoGPTQ's file names") {
  const NamedTensors tensors = gptq_tensors("l", random_grid(32, 64, 4, 32, true, false), 1);
  const Json label = {{"bits", 4}, {"group_size", 32}, {"sym", true}, {"model_file_base_name", nullptr}};
  CHECK(ForeignModel(tensors, label, "quantize_config.json", "gptq_model-4bit-32g.safetensors").packed().tag ==
        "grouped_int");
  Json named = label;
  named["model_file_base_name"] = "mine";
  CHECK(ForeignModel(tensors, named, "quantize_config.json", "mine.safetensors").packed().tag == "grouped_int");
  named["model_file_base_name"] = "../mine";
  CHECK_THROWS_TEXT(input, "model_file_base_name",
                    ForeignModel(tensors, named, "quantize_config.json", "mine.safetensors").packed());
}

TEST_CASE("GPTQ: what cannot be read is refused by field or tensor") {
  const NamedTensors good = gptq_tensors("l", random_grid(32, 64, 4, 32, true, false), 1);
  const auto with = [&](const std::string& name, const Tensor& t) {
    NamedTensors changed;
    for (const auto& [n, old] : good) changed.emplace_back(n, n == name ? t : old);
    return ForeignModel(changed, gptq_label(4, 32, "gptq", true)).packed();
  };
  const auto label = [&](const std::string& key, const Json& value) {
    Json config = gptq_label(4, 32, "gptq", true);
    config["quantization_config"][key] = value;
    return ForeignModel(good, config).packed();
  };
  CHECK_THROWS_TEXT(input, "tensor l.qweight", with("l.qweight", Tensor::zeros({8, 32}, DType::f32)));
  CHECK_THROWS_TEXT(input, "tensor l.qweight", with("l.qweight", Tensor::of<std::int32_t>({0, 32}, {})));
  CHECK_THROWS_TEXT(input, "tensor l.scales", with("l.scales", Tensor::zeros({3, 32}, DType::f16)));
  CHECK_THROWS_TEXT(input, "tensor l.scales", with("l.scales", Tensor::full({2, 32}, INFINITY, DType::f32)));
  CHECK_THROWS_TEXT(input, "tensor l.qzeros",
                    with("l.qzeros", Tensor::of<std::int32_t>({1, 4}, std::array{0, 0, 0, 0})));
  Tensor index = Tensor::empty({64}, DType::i32);
  for (auto& g : index.mutable_data<std::int32_t>()) g = 2;
  CHECK_THROWS_TEXT(input, "tensor l.g_idx", with("l.g_idx", index));
  CHECK_THROWS_TEXT(input, "tensor l.g_idx", with("l.g_idx", index.rows(0, 63).clone()));
  CHECK_THROWS_TEXT(input, "l.scales is missing", [&] {
    NamedTensors some(good.begin(), good.begin() + 2);
    return ForeignModel(some, gptq_label(4, 32, "gptq", true)).packed();
  }());
  CHECK_THROWS_TEXT(input, "field bits", label("bits", 5));
  CHECK_THROWS_TEXT(input, "field group_size", label("group_size", 0));
  CHECK_THROWS_TEXT(input, "gptq_p", label("checkpoint_format", "gptq_p"));
  CHECK_THROWS_TEXT(input, "is_marlin_format", label("is_marlin_format", true));
  CHECK_THROWS_TEXT(input, "dynamic", label("dynamic", {{"(", Json::object()}}));
  CHECK_THROWS_TEXT(input, "bitsandbytes", label("quant_method", "bitsandbytes"));
  CHECK_THROWS_TEXT(input, "\"fp8\"", label("quant_method", "fp8"));
}
