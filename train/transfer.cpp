#include "train/transfer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "core/fnv.h"
#include "models/checkpoint.h"
#include "models/interchange/gguf.h"
#include "train/prompt.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

void check_names(std::string_view what, const std::vector<NamedPath>& list) {
  require(!list.empty(), ErrorCode::usage, what, "at least one is needed");
  for (std::size_t i = 0; i < list.size(); ++i) {
    require(!list[i].name.empty(), ErrorCode::usage, what, list[i].path.string(), " has no name");
    for (std::size_t j = 0; j < i; ++j)
      require(list[i].name != list[j].name, ErrorCode::usage, what, "the name ", list[i].name, " occurs twice");
  }
}

// A model's files by name, size and time: hashing gigabytes of weights would take as long as measuring them.
std::string files_fingerprint(const fs::path& model) {
  std::vector<fs::path> files;
  if (is_gguf(model)) files.push_back(model);
  else
    for (const auto& entry : fs::directory_iterator(model))
      if (entry.is_regular_file()) files.push_back(entry.path());
  std::ranges::sort(files);
  Fnv64 hash;
  for (const auto& f : files)
    hash.add(f.filename().string() + " " + std::to_string(fs::file_size(f)) + " " +
             std::to_string(fs::last_write_time(f).time_since_epoch().count()) + "\n");
  return hash.hex();
}

template <class T>
std::string values_fingerprint(std::span<const T> values) {
  Fnv64 hash;
  hash.add({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  return hash.hex();
}

// The configurations of all models, which must read the same ids and take the same prompts.
std::vector<ModelConfig> read_models(const std::vector<NamedPath>& models, const Tokenizer& tokenizer) {
  std::vector<ModelConfig> configs;
  const std::string first = tokenizer_fingerprint(tokenizer);
  for (const auto& m : models) {
    configs.push_back(read_config(m.path));
    require(configs.back().word_width == configs[0].word_width, ErrorCode::input, m.path.string(), "model ", m.name,
            " has words of width ", configs.back().word_width, ", model ", models[0].name, " of ",
            configs[0].word_width, ": no prompt fits both");
    require(tokenizer_fingerprint(*Tokenizer::load(m.path)) == first, ErrorCode::input, m.path.string(), "model ",
            m.name, " has another tokenizer than model ", models[0].name,
            ": their perplexities cannot be compared, and no prompt fits both");
  }
  return configs;
}

std::int64_t chosen_length(const TransferRequest& r, const std::vector<ModelConfig>& configs,
                           const std::vector<TransferMatrix::Prompt>& prompts) {
  const auto& longest = *std::ranges::max_element(prompts, {}, &TransferMatrix::Prompt::tokens);
  std::int64_t T = r.seq_len > 0 ? r.seq_len : 1024;
  for (std::size_t i = 0; i < configs.size(); ++i) {
    const std::int64_t limit = configs[i].max_positions;
    if (r.seq_len == 0) T = std::min(T, limit - longest.tokens());
    require(T + longest.tokens() <= limit && T >= 2, ErrorCode::usage, "--seq-len", "chunks of ", T, " and the ",
            longest.tokens(), " rows of prompt ", longest.name, " do not fit the ", limit, " positions of model ",
            r.models[i].name);
  }
  return T;
}

TransferMatrix::Text read_text(const NamedPath& text, const TransferRequest& r, const Tokenizer& tokenizer,
                               const std::vector<ModelConfig>& configs, std::int64_t T) {
  TransferMatrix::Text t{text.name, tokenizer.encode(read_text_as_one(text.path, r.reading))};
  require(std::int64_t(t.ids.size()) >= T, ErrorCode::input, text.path.string(), "holds ", t.ids.size(),
          " tokens, fewer than one chunk of ", T);
  const std::int32_t largest = *std::ranges::max_element(t.ids);
  for (std::size_t i = 0; i < configs.size(); ++i)
    require(largest < configs[i].vocab, ErrorCode::input, text.path.string(), "gives id ", largest,
            ", outside the vocabulary of ", configs[i].vocab, " of model ", r.models[i].name);
  return t;
}

void add_cells(TransferMatrix& m) {
  std::vector<std::string> models, prompts, texts;
  for (const auto& x : m.models) models.push_back(files_fingerprint(x.path));
  for (const auto& x : m.prompts)
    prompts.push_back(x.rows ? values_fingerprint(std::span<const float>(x.rows.data<float>())) : "none");
  for (const auto& x : m.texts) texts.push_back(values_fingerprint(std::span<const std::int32_t>(x.ids)));
  const std::string settings = "length=" + std::to_string(m.seq_len) + " chunks=" + std::to_string(m.max_chunks) +
                               " compute=" + std::to_string(int(m.compute));
  for (std::size_t i = 0; i < models.size(); ++i)
    for (std::size_t t = 0; t < texts.size(); ++t)
      for (std::size_t p = 0; p < prompts.size(); ++p)
        m.cells.push_back(
            {i, p, t, settings + " model=" + models[i] + " prompt=" + prompts[p] + " text=" + texts[t], {}});
}

}  // namespace

std::size_t TransferMatrix::measured() const {
  return std::size_t(std::ranges::count_if(cells, [](const TransferCell& c) { return c.found.has_value(); }));
}

TransferMatrix plan_transfer(const TransferRequest& r) {
  check_names("--models", r.models);
  check_names("--data", r.texts);
  if (!r.prompts.empty()) check_names("--prompts", r.prompts);
  const auto tokenizer = Tokenizer::load(r.models[0].path);
  const auto configs = read_models(r.models, *tokenizer);
  TransferMatrix m;
  m.models = r.models;
  m.prompts.push_back({"none", {}});
  for (const auto& p : r.prompts) {
    require(p.name != "none", ErrorCode::usage, "--prompts", "the name none is that of the row without a prompt");
    m.prompts.push_back({p.name, load_prompt(p.path, configs[0], *tokenizer)});
  }
  m.seq_len = chosen_length(r, configs, m.prompts);
  m.max_chunks = r.max_chunks;
  m.compute = r.compute;
  for (const auto& t : r.texts) m.texts.push_back(read_text(t, r, *tokenizer, configs, m.seq_len));
  add_cells(m);
  return m;
}

void take_over(TransferMatrix& m, const Json& earlier, const std::string& where) {
  const JsonFields file(where, earlier);
  const Json& cells = file.at("cells");
  if (!cells.is_array()) file.refuse("cells", "a list");
  std::map<std::string, Perplexity, std::less<>> known;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const JsonFields f(where + ": cells[" + std::to_string(i) + "]", cells[i]);
    Perplexity p;
    p.nll = f.number("nll");
    p.ppl = f.number("ppl");
    p.ppl_paper = f.number("ppl_paper");
    p.scored_tokens = f.integer("scored_tokens", 1);
    p.chunks = f.integer("chunks", 1);
    p.seq_len = f.integer("seq_len", 2);
    known[f.text("fingerprint")] = p;
  }
  for (auto& c : m.cells)
    if (const auto it = known.find(c.fingerprint); it != known.end()) c.found = it->second;
}

namespace {

// What happens within a cell, as a part of the whole matrix.
class CellLog final : public LogSink {
 public:
  CellLog(LogSink& outer, const TransferMatrix& m) : outer_(outer), matrix_(m) {
    for (const auto& c : m.cells) total_ += work(c);
    for (const auto& c : m.cells) done_ += c.found ? work(c) : 0;
  }
  void note(std::string_view text) override { outer_.note(text); }
  void warn(std::string_view text) override { outer_.warn(text); }
  bool stop_requested() const override { return outer_.stop_requested(); }
  void begin(const TransferCell& c) { cell_ = &c; }
  void end() { done_ += work(*cell_); }
  void progress(const Progress& p) override {
    const double within = p.total > 0 ? double(p.done) / double(p.total) : 0;
    outer_.progress({"transfer", std::int64_t(matrix_.measured()) + (p.done == p.total),
                     std::int64_t(matrix_.cells.size()), p.value, p.unit, (done_ + within * work(*cell_)) / total_});
  }

 private:
  double work(const TransferCell& c) const {  // rows through the model
    const std::int64_t T = matrix_.seq_len, all = std::int64_t(matrix_.texts[c.text].ids.size()) / T;
    const std::int64_t chunks = matrix_.max_chunks > 0 ? std::min(all, matrix_.max_chunks) : all;
    return double(chunks * (T + matrix_.prompts[c.prompt].tokens()));
  }
  LogSink& outer_;
  const TransferMatrix& matrix_;
  const TransferCell* cell_ = nullptr;
  double done_ = 0, total_ = 0;
};

}  // namespace

void measure_transfer(TransferMatrix& m, const std::function<void()>& after_cell, LogSink& log) {
  CellLog inner(log, m);
  std::unique_ptr<CausalLM> model;
  std::size_t loaded = 0;
  for (auto& c : m.cells) {
    if (c.found) continue;
    if (!model || loaded != c.model) {
      model.reset();
      model = load_model(m.models[c.model].path, &log);
      loaded = c.model;
    }
    inner.begin(c);
    Perplexity p = perplexity(*model, m.texts[c.text].ids,
                              {.seq_len = m.seq_len,
                               .max_chunks = m.max_chunks,
                               .soft_prompt = m.prompts[c.prompt].rows,
                               .compute = m.compute},
                              inner);
    inner.end();
    p.token_nll.clear();
    p.token_nll.shrink_to_fit();
    c.found = std::move(p);
    after_cell();
  }
}

Json transfer_json(const TransferMatrix& m) {
  Json json{{"seq_len", m.seq_len}, {"max_chunks", m.max_chunks}, {"cells", Json::array()}};
  for (const auto& c : m.cells) {
    if (!c.found) continue;
    const Perplexity& p = *c.found;
    json["cells"].push_back({{"data", m.texts[c.text].name},
                             {"source", m.prompts[c.prompt].name},
                             {"target", m.models[c.model].name},
                             {"prompt_tokens", m.prompts[c.prompt].tokens()},
                             {"ppl", p.ppl},
                             {"ppl_paper", p.ppl_paper},
                             {"nll", p.nll},
                             {"scored_tokens", p.scored_tokens},
                             {"chunks", p.chunks},
                             {"seq_len", p.seq_len},
                             {"fingerprint", c.fingerprint}});
  }
  return json;
}

}  // namespace sinter
