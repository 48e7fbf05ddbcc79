#include "train/compress/pipeline.h"

#include "models/checkpoint.h"
#include "models/weights/formats.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"
#include "test/train/compress_cases.h"
#include "test/train/pipeline_cases.h"

using namespace sinter;
using namespace sinter::test;

namespace {

std::unique_ptr<CausalLM> load(const char* name = "llama_gqa_tied") {
  return load_model(golden(std::string("models/") + name));
}

struct Log final : LogSink {
  void note(std::string_view) override {}
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  void progress(const Progress& p) override {
    last = std::string(p.unit);
    done = p.done;
    CHECK(p.share > share);
    share = p.share;
  }
  bool stop_requested() const override { return done >= stop_after; }
  std::vector<std::string> warnings;
  std::string last;
  double share = 0;
  std::int64_t done = 0, stop_after = 1000;
};

std::vector<LayerReport> run(CausalLM& model, const CompressPlan& plan, const Windows& w = windows()) {
  NullLog log;
  return compress(model, w, plan, log);
}

std::map<std::string, Tensor> weights(CausalLM& model) {
  std::map<std::string, Tensor> all;
  model.each_linear([&](Linear& l) { all[l.name()] = l.dense().clone(); });
  return all;
}

Tensor logits(const CausalLM& model) {
  const std::vector<std::int32_t> ids = windows()[0];
  const Layout layout = Layout::one(std::int64_t(ids.size()));
  return model.logits({}, model.run({}, model.enter({}, model.embed({}, ids), layout), model.all(), layout)).value();
}

// Returns the weight it was given, or fails at a name.
class Nothing final : public LayerMethod {
 public:
  explicit Nothing(std::string fail_at = "-") : fail_at_(std::move(fail_at)) {}
  StatsRequest needs() const override { return {.gram = true}; }
  Pruning pruning() const override { return Pruning::none; }
  LayerResult compress(const LayerProblem& p) const override {
    require(p.name.find(fail_at_) == p.name.npos, ErrorCode::numeric, p.name, "fails");
    LayerResult r;
    r.dense = fail_at_ == "-" ? p.weight : Tensor::zeros(p.weight.shape(), DType::f32);
    return r;
  }

 private:
  std::string fail_at_;
};

}  // namespace

TEST_CASE("A method that changes nothing leaves the logits bit for bit (card 01.3)") {
  for (const char* name : {"llama_gqa_tied", "llama_bf16_sharded", "llama_f16", "opt_pre_norm", "opt_post_norm_proj"})
    for (const bool sequential : {false, true}) {
      const auto model = load(name);
      const Tensor before = logits(*model);
      CompressPlan plan;
      plan.method = std::make_unique<Nothing>();
      plan.true_sequential = sequential;
      run(*model, plan);
      CHECK(same_bits(logits(*model), before));
    }
}

TEST_CASE("True-sequential changes o, gate, up and down of the first block, and not q, k, v (card 01.6)") {
  const auto at_once = load(), in_stages = load();
  CompressPlan plan = plan_of("gptq", {{"bits", "3"}});
  run(*at_once, plan);
  plan.true_sequential = true;
  run(*in_stages, plan);
  const auto a = weights(*at_once), b = weights(*in_stages);
  for (const auto& [name, w] : a) {
    if (name.find("layers.0.") == name.npos) continue;
    CAPTURE(name);
    const bool first = name.ends_with("q_proj") || name.ends_with("k_proj") || name.ends_with("v_proj");
    CHECK(same_bits(w, b.at(name)) == first);
  }
}

TEST_CASE("Later blocks are calibrated on what the compressed blocks before them put out") {
  const auto whole = load(), second = load();
  CompressPlan plan = plan_of("sparsegpt", {}, Fraction{0.5});
  run(*whole, plan);
  plan.only = "layers\\.1\\.";
  const auto reports = run(*second, plan);
  for (const auto& r : reports) CHECK(r.block == 1);
  CHECK(distance(weights(*whole)["model.layers.1.self_attn.q_proj"],
                 weights(*second)["model.layers.1.self_attn.q_proj"]) > 1e-3);
}

TEST_CASE("There is one report per linear in the order of each_linear, and packed or dense weights as asked") {
  for (const bool packed : {true, false}) {
    const auto model = load();
    CompressPlan plan = plan_of("gptq", {{"bits", "4"}, {"group", "16"}});
    plan.packed = packed;
    const auto reports = run(*model, plan);
    std::size_t i = 0;
    model->each_linear([&](Linear& l) {
      const LayerReport& r = reports.at(i++);
      CHECK(r.name == l.name());
      CHECK(r.rows == l.out_features());
      CHECK(r.columns == l.in_features());
      CHECK(r.error > 0);
      CHECK(r.error < 0.1);
      CHECK(r.damp == 0.01);
      CHECK(r.bits_per_weight == (packed ? 4 + 24. * std::ceil(double(r.columns) / 16) / double(r.columns) : 32));
      CHECK(l.frozen()->pack().tag == (packed ? "grouped_int" : "dense"));
    });
    CHECK(i == reports.size());
  }
}

TEST_CASE("Packed and dense results are the same model") {
  const auto packed = load(), dense = load();
  for (const auto& [model, keep] : {std::pair(packed.get(), true), {dense.get(), false}}) {
    CompressPlan plan = plan_of("gptq", {{"bits", "3"}, {"act_order", "1"}, {"group", "8"}});
    plan.packed = keep;
    plan.only = "layers\\.0\\.";  // the next block would see products that differ by rounding
    run(*model, plan);
  }
  const auto a = weights(*packed), b = weights(*dense);
  for (const auto& [name, w] : a) CHECK(same_bits(w, b.at(name)));
}

TEST_CASE("Pruned weights keep the type of their source, and their zeros survive save and load (card 02.8)") {
  for (const auto& [name, type] :
       {std::pair("llama_bf16_sharded", DType::bf16), {"llama_f16", DType::f16}, {"llama_gqa_tied", DType::f32}})
    for (const Sparsity& s : {Sparsity(Fraction{0.5}), Sparsity(KeepOf{2, 4})}) {
      const auto model = load(name);
      CompressPlan plan = plan_of("sparsegpt", {}, s);
      plan.packed = false;
      run(*model, plan);
      const auto before = weights(*model);
      model->each_linear([&](Linear& l) { CHECK(l.frozen()->pack().parts.at("weight").dtype() == type); });
      const TempDir dir;
      save_weights(*model, dir.path());
      std::filesystem::copy(golden(std::string("models/") + name) / "config.json", dir / "config.json");
      const auto again = load_model(dir.path());
      for (auto& [linear, w] : weights(*again)) {
        CHECK(same_bits(w, before.at(linear)));
        for (std::int64_t g = 0; std::holds_alternative<KeepOf>(s) && g < w.numel(); g += 4)
          CHECK(count_zeros(w, g, g + 4) == 2);
      }
    }
}

TEST_CASE("Embeddings, norms and the head stay, and so do linears that are not selected") {
  const auto model = load("llama_mha_untied");
  const FrozenWeightPtr head = std::get<FrozenWeightPtr>(*model->ends().head);
  std::map<std::string, FrozenWeightPtr> before;
  model->each_linear([&](Linear& l) { before[l.name()] = l.frozen(); });
  CompressPlan plan = plan_of("wanda", {}, KeepOf{2, 4});
  plan.only = "mlp";
  plan.skip = "layers\\.0\\..*up";
  const auto reports = run(*model, plan);
  CHECK(reports.size() == before.size() / 7 * 3 - 1);
  CHECK(std::get<FrozenWeightPtr>(*model->ends().head) == head);
  model->each_linear([&](Linear& l) {
    const bool selected = l.name().find("mlp") != std::string::npos &&
                          !(l.name().find("layers.0.") != std::string::npos && l.name().ends_with("up_proj"));
    CHECK((l.frozen() != before[l.name()]) == selected);
  });
}

TEST_CASE("A linear that fails leaves its block as it was") {
  for (const bool sequential : {false, true})
    for (const char* at : {"layers.1.self_attn.k_proj", "layers.1.mlp.down_proj"}) {
      const auto model = load();
      std::map<std::string, FrozenWeightPtr> before;
      model->each_linear([&](Linear& l) { before[l.name()] = l.frozen(); });
      CompressPlan plan;
      plan.method = std::make_unique<Nothing>(at);
      plan.true_sequential = sequential;
      CHECK_THROWS_TEXT(numeric, at, run(*model, plan));
      model->each_linear([&](Linear& l) {
        CHECK((l.frozen() == before[l.name()]) == (l.name().find("layers.1.") != std::string::npos));
      });
    }
}

TEST_CASE("Inputs that are not finite are an error that names the linear") {
  const auto model = load();
  std::vector<Linear*> linears;
  model->each_linear([&](Linear& l) { linears.push_back(&l); });
  Tensor broken = linears[2]->dense().clone();
  broken.mutable_data<float>()[0] = NAN;
  linears[2]->replace(freeze_dense(broken));
  CompressPlan plan = plan_of("gptq", {{"bits", "4"}});
  CHECK_THROWS_TEXT(numeric, "layers.0.self_attn.v_proj", run(*model, plan));
  plan.skip = "v_proj";
  CHECK_THROWS_TEXT(numeric, "layers.0.self_attn.o_proj", run(*model, plan));
}

TEST_CASE("Magnitude and rounding need no windows; with windows their output errors are measured") {
  for (const auto& [method, sparsity] :
       {std::pair<const char*, Sparsity>("magnitude", Fraction{0.5}), {"rtn", Unpruned{}}}) {
    const auto a = load(), b = load();
    const CompressPlan plan = plan_of(method, {}, sparsity);
    const auto blind = run(*a, plan, {}), measured = run(*b, plan);
    const auto x = weights(*a), y = weights(*b);
    for (const auto& [name, w] : x) CHECK(same_bits(w, y.at(name)));
    CHECK(blind[0].error > 0);
    CHECK(blind[0].error != measured[0].error);
  }
}

TEST_CASE("Plans that cannot work are refused before anything changes") {
  const auto model = load();
  const auto before = weights(*model);
  const auto refused = [&](CompressPlan plan, const Windows& w, const char* text) {
    CHECK_THROWS_TEXT(usage, text, run(*model, plan, w));
  };
  refused(plan_of("gptq"), {}, "windows");
  refused(plan_of("gptq", {}, Fraction{0.5}), windows(), "prune");
  refused(plan_of("wanda"), windows(), "sparsity");
  refused(plan_of("wanda", {}, KeepOf{3, 7}), windows(), "groups of 7");
  Windows ragged = windows();
  ragged[3].pop_back();
  refused(plan_of("gptq"), ragged, "15");
  refused(plan_of("gptq"), Windows{{}}, "no windows");
  refused(plan_of("gptq"), Windows{{1, 2, 97}}, "97");
  refused(plan_of("gptq"), windows(1, 5000), "positions");
  CompressPlan broken = plan_of("rtn"), nobody = plan_of("rtn");
  broken.only = "(";
  nobody.only = "no such linear";
  refused(std::move(broken), {}, "--only: \"(\" is not a regular expression");
  refused(std::move(nobody), {}, "no linear");
  const auto after = weights(*model);
  for (const auto& [name, w] : before) CHECK(same_bits(w, after.at(name)));
}

TEST_CASE("Progress names block, linear and damping; few tokens are a warning; a stop leaves the block") {
  const auto model = load();
  Log log;
  compress(*model, windows(1, 8), plan_of("gptq"), log);
  CHECK(log.last.starts_with("block 2/2 down_proj damping 0.01 "));
  CHECK(log.last.ends_with(" s error"));
  CHECK(log.share == doctest::Approx(1));
  CHECK(log.done == 14);
  REQUIRE(log.warnings.size() == 1);
  CHECK(log.warnings[0].find("8 calibration tokens") == 0);

  const auto stopped = load();
  const auto before = weights(*stopped);
  Log stop;
  stop.stop_after = 10;
  CHECK_THROWS_CODE(interrupted, compress(*stopped, windows(), plan_of("gptq"), stop));
  CHECK(stop.done == 10);
  auto after = weights(*stopped);
  CHECK(same_bits(after["model.layers.1.self_attn.q_proj"], before.at("model.layers.1.self_attn.q_proj")));
  CHECK_FALSE(same_bits(after["model.layers.0.self_attn.q_proj"], before.at("model.layers.0.self_attn.q_proj")));
}

TEST_CASE("Compression gives the same bytes for 1, 2 and 3 threads") {
  for (const char* name : {"llama_gqa_tied", "opt_pre_norm"}) {
    std::vector<std::map<std::string, Tensor>> results;
    for (const int threads : {1, 2, 3}) {
      const Threads set(threads);
      const auto model = load(name);
      run(*model, plan_of("sparsegpt", {{"bits", "4"}}, Fraction{0.5}), windows(150, 16));
      results.push_back(weights(*model));
    }
    for (const auto& [linear, w] : results[0])
      for (const std::size_t k : {1, 2}) CHECK(same_bits(w, results[k].at(linear)));
  }
}
