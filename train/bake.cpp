#include "train/bake.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/tokenizer_extend.h"
#include "models/weights/formats.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kVocabMultiple = 64;

// The type a matrix is stored in, f32 where it is in codes.
DType stored_type(const FrozenWeight& w) {
  const Packed p = w.pack();
  return p.tag == "dense" ? p.parts.at("weight").dtype() : DType::f32;
}

const FrozenWeight& frozen(const Matrix& m) { return *std::get<FrozenWeightPtr>(m); }

// [vocab, w]: the model's rows below `first`, the prompt [k, w] from there on, zeros.
Tensor words_with_prompt(const FrozenWeight& words, const Tensor& prompt, std::int64_t first, std::int64_t vocab) {
  const std::int64_t kept = std::min(first, words.out_features());
  Tensor out = Tensor::zeros({vocab, words.in_features()}, DType::f32);
  const auto to = out.mutable_data<float>();
  std::ranges::copy(words.dense({0, kept}).data<float>(), to.begin());
  std::ranges::copy(prompt.data<float>(), to.begin() + first * words.in_features());
  return out;
}

// [vocab, w]: the model's rows below `first`, their mean everywhere else.
Tensor head_with_means(const FrozenWeight& head, std::int64_t first, std::int64_t vocab) {
  const std::int64_t w = head.in_features(), kept = std::min(first, head.out_features());
  const Tensor old = head.dense({0, kept});
  const auto from = old.data<float>();
  std::vector<double> sum(std::size_t(w), 0.0);
  for (std::size_t i = 0; i < from.size(); ++i) sum[i % std::size_t(w)] += double(from[i]);
  Tensor out = Tensor::empty({vocab, w}, DType::f32);
  const auto to = out.mutable_data<float>();
  std::ranges::copy(from, to.begin());
  for (std::size_t i = from.size(); i < to.size(); ++i) to[i] = float(sum[i % std::size_t(w)] / double(kept));
  return out;
}

std::vector<std::string> token_names(std::int64_t k) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < k; ++i) names.push_back("<sp_" + std::to_string(i) + ">");
  return names;
}

// No program that reads this file draws one of the new tokens.
void suppress(const fs::path& file, const ModelConfig& c, std::int64_t first, std::int64_t vocab) {
  Json json = fs::exists(file) ? read_json(file) : Json::object();
  require(json.is_object(), ErrorCode::input, file.string(), "expected an object");
  if (json.empty()) {
    if (c.bos >= 0) json["bos_token_id"] = c.bos;
    if (c.eos.size() == 1) json["eos_token_id"] = c.eos[0];
    if (c.eos.size() > 1) json["eos_token_id"] = c.eos;
    if (c.pad >= 0) json["pad_token_id"] = c.pad;
  }
  Json& list = json["suppress_tokens"];
  if (list.is_null()) list = Json::array();
  require(list.is_array(), ErrorCode::input, file.string(), "field suppress_tokens: expected a list");
  for (std::int64_t id = first; id < vocab; ++id) list.push_back(id);
  write_text_atomic(file, json_text(json));
}

// A directory without tokenizer_config.json leaves it to each program which tokens are special: here it is said.
void name_special_tokens(const fs::path& dir, const Tokenizer& t, bool begins_with_bos) {
  const fs::path file = dir / "tokenizer_config.json";
  if (fs::exists(file) || fs::exists(dir / "tokenizer.json")) return;
  Json json{{"add_bos_token", begins_with_bos}};
  if (t.bos()) json["bos_token"] = t.piece(*t.bos());
  if (t.eos()) json["eos_token"] = t.piece(*t.eos());
  if (t.pad()) json["pad_token"] = t.piece(*t.pad());
  write_text_atomic(file, json_text(json));
}

// Where a tokenizer puts a space before the first word of a text only, a word behind <s> needs one that is written.
std::string prefix_of(const Tokenizer& t, const std::string& tokens, const std::string& start) {
  constexpr const char* kSample = "Once upon a time";
  const auto tail = t.encode(kSample, false);
  for (const char* const space : {"", " "}) {
    const auto whole = t.encode(tokens + start + space + kSample, false);
    if (whole.size() >= tail.size() && std::equal(tail.rbegin(), tail.rend(), whole.rbegin()))
      return tokens + start + space;
  }
  return tokens + start;
}

}  // namespace

BakedPrompt bake_prompt(CausalLM& model, const fs::path& model_dir, const Tensor& prompt, const fs::path& dir,
                        const Json& config_changes) {
  const ModelConfig c = model.config();
  const auto tokenizer = Tokenizer::load(model_dir);
  BakedPrompt b;
  b.tokens = prompt.shape()[0];
  b.first = std::int32_t(tokenizer->size());
  b.vocab_before = c.vocab;
  const std::vector<std::string> names = token_names(b.tokens);
  require(b.tokens < c.max_positions, ErrorCode::usage, "--soft-prompt", b.tokens,
          " rows leave nothing of the model's ", c.max_positions, " positions");
  require(!tokenizer->id(names[0]), ErrorCode::input, model_dir.string(), "the tokenizer has ", names[0],
          " already: a prompt is baked into this model");
  b.vocab = std::max(c.vocab, std::int64_t(b.first) + b.tokens);
  b.vocab = (b.vocab + kVocabMultiple - 1) / kVocabMultiple * kVocabMultiple;

  const FrozenWeight &words = frozen(model.ends().embedding), &head = c.tied ? words : frozen(*model.ends().head);
  const DType source = source_dtype(model);
  const Tensor rows = cast_if_exact(words_with_prompt(words, prompt, b.first, b.vocab), stored_type(words));
  const Tensor outputs = cast(head_with_means(head, b.first, b.vocab), stored_type(head));
  b.own_head = c.tied;
  b.widened = rows.dtype() != stored_type(words);
  b.largest_shift = std::log1p(double(b.vocab - b.first) / double(std::min<std::int64_t>(b.first, c.vocab)));
  model.replace_words(freeze_dense(rows), freeze_dense(outputs));

  Json changes = config_changes;
  changes["vocab_size"] = b.vocab;
  changes["tie_word_embeddings"] = false;
  save_weights(model, dir, {.params = source, .source = source});
  copy_model_files(model_dir, dir, changes);
  suppress(dir / "generation_config.json", c, b.first, b.vocab);
  const auto bos = tokenizer->bos();
  const auto around = tokenizer->encode("");
  if (bos && !around.empty() && around.front() == *bos) b.start = tokenizer->piece(*bos);
  name_special_tokens(dir, *tokenizer, !b.start.empty());
  add_special_tokens(dir, b.first, names);

  const auto extended = Tokenizer::load(dir);
  std::string tokens;
  for (const auto& name : names) tokens += name;
  b.prefix = prefix_of(*extended, tokens, b.start);
  write_text_atomic(dir / "prompt_prefix.txt", b.prefix);
  return b;
}

}  // namespace sinter
