// decode_f32: tokens one at a time, where every weight is read once per token and little else happens.
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/bench.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/llama.h"
#include "models/weights/formats.h"

namespace sinter::bench {
namespace {

constexpr std::int64_t kPrompt = 32, kTokens = 16;

Json config_110m() {
  return {{"model_type", "llama"},           {"vocab_size", 32000},        {"hidden_size", 768},
          {"intermediate_size", 2048},       {"num_hidden_layers", 12},    {"num_attention_heads", 12},
          {"max_position_embeddings", 2048}, {"tie_word_embeddings", true}};
}

class RandomWeights final : public TensorSource {
 public:
  bool has(const std::string&) const override { return false; }
  Tensor vector(const std::string&, Shape shape) override { return Tensor::full(shape, 1, DType::f32); }
  FrozenWeightPtr matrix(const std::string&, std::int64_t out, std::int64_t in) override {
    return freeze_dense(random_tensor({out, in}, next_++));
  }

 private:
  std::uint64_t next_ = 100;
};

// The same model from a file, mapped as any checkpoint is.
class SavedModel {
 public:
  explicit SavedModel(CausalLM& model) {
    std::string name = (std::filesystem::temp_directory_path() / "sinter-bench-XXXXXX").native();
    require(::mkdtemp(name.data()) != nullptr, ErrorCode::io, name, "cannot be created");
    path_ = name;
    write_text_atomic(path_ / "config.json", json_text(config_110m()));
    save_weights(model, path_);
  }
  ~SavedModel() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  SavedModel(const SavedModel&) = delete;
  SavedModel& operator=(const SavedModel&) = delete;
  std::unique_ptr<CausalLM> load() const { return load_model(path_); }

 private:
  std::filesystem::path path_;
};

// What a token reads at least: every matrix of the blocks and the head.
double weight_bytes(CausalLM& model) {
  const Matrix& head = model.ends().head ? *model.ends().head : model.ends().embedding;
  double bytes = double(stored_bytes(*std::get<FrozenWeightPtr>(head)));
  model.each_linear([&](Linear& l) { bytes += double(stored_bytes(*l.frozen())); });
  return bytes;
}

std::int32_t step(const CausalLM& model, std::span<const std::int32_t> ids, KvCache& cache, Compute compute) {
  const Context ctx{.compute = compute};
  const std::int64_t n = std::int64_t(ids.size());
  const Layout layout = Layout::one(n, cache.length());
  const Var h = model.run(ctx, model.enter(ctx, model.embed(ctx, ids), layout), model.all(), layout, &cache);
  const Tensor z = model.logits(ctx, h.value().rows(n - 1, n)).value();
  const auto row = z.data<float>();
  return std::int32_t(std::max_element(row.begin(), row.end()) - row.begin());
}

}  // namespace

Row decode(LogSink& log, std::string_view what, std::string shape, CausalLM& model, const MemoryReader& reader,
           Compute compute) {
  KvCache cache = model.make_cache(kPrompt + kTokens);
  const std::int32_t first = step(model, std::vector<std::int32_t>(kPrompt, 1), cache, compute);
  const auto tokens = [&] {
    cache.rollback(kPrompt);
    std::int32_t id = first;
    return timed([&] {
             for (int i = 0; i < kTokens; ++i) id = step(model, std::span(&id, 1), cache, compute);
           }) /
           kTokens;
  };
  const Pair s = in_turn(
      log, [&] { return reader.seconds(); }, tokens);
  return {what, std::move(shape), 1e-9 * weight_bytes(model), "GB/s", s.engine, 1e-9 * reader.bytes() / s.limit};
}

std::unique_ptr<CausalLM> llama_110m() {
  RandomWeights source;
  return make_llama(parse_config(config_110m(), "llama_110m"), source);
}

std::vector<Row> decode_f32(LogSink& log) {
  const MemoryReader reader;
  auto model = llama_110m();
  const std::string shape = "llama 110M, tokens 33 to 48, ";
  std::vector<Row> rows{decode(log, "decode_f32", shape + "in memory", *model, reader, Compute::f32)};
  const SavedModel saved(*model);
  model.reset();
  rows.push_back(decode(log, "decode_f32", shape + "mapped file", *saved.load(), reader, Compute::f32));
  return rows;
}

}  // namespace sinter::bench
