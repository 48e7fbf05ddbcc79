#include "train/data/instructions.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/json.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

struct Dialogue {
  std::string prompt, answer;
};

// Taori et al., Stanford Alpaca, 2023.
std::string alpaca(const std::string& instruction, const std::string& input) {
  std::string text = "Below is an instruction that describes a task";
  if (!input.empty()) text += ", paired with an input that provides further context";
  text += ". Write a response that appropriately completes the request.\n\n### Instruction:\n" + instruction + "\n\n";
  if (!input.empty()) text += "### Input:\n" + input + "\n\n";
  return text + "### Response:\n";
}

bool is_dialogue(const Json& record) {
  return record.is_object() && (record.contains("instruction") || record.contains("prompt"));
}

Dialogue read(const JsonFields& f) {
  const auto filled = [&f](const char* key) {
    std::string text = f.text(key);
    if (text.empty()) f.refuse(key, "a text that is not empty");
    return text;
  };
  if (f.has("prompt")) return {filled("prompt"), f.text("completion")};
  return {alpaca(filled("instruction"), f.text_or("input", "")), f.text("output")};
}

Example example(const Dialogue& d, const Tokenizer& tokenizer, const InstructionOptions& o, bool& cut) {
  Example e{tokenizer.encode(d.prompt + d.answer), {}};
  const auto cutoff = std::size_t(o.cutoff);
  const auto end = tokenizer.eos();
  if (end && (e.ids.empty() || e.ids.back() != *end)) e.ids.push_back(*end);
  cut = e.ids.size() > cutoff;
  e.ids.resize(std::min(e.ids.size(), cutoff));
  const std::size_t unlearned = o.train_on_inputs ? 0 : tokenizer.encode(d.prompt).size();
  for (std::size_t t = 1; t <= e.ids.size(); ++t)
    e.targets.push_back(t == e.ids.size() || t < unlearned ? -1 : e.ids[t]);
  return e;
}

}  // namespace

bool holds_instructions(const fs::path& path) {
  if (!holds_records(path) && path.extension() != ".json") return false;
  bool found = false;
  for_records(path, [&](const std::string& where, const Json& record) {
    found = is_dialogue(record);
    require(found || holds_records(path), ErrorCode::input, where, "has neither a field instruction nor prompt");
    return false;
  });
  return found;
}

Instructions read_instructions(const fs::path& path, const Tokenizer& tokenizer, std::int64_t vocab,
                               const InstructionOptions& o) {
  require(o.cutoff >= 2, ErrorCode::usage, "--cutoff", "expected 2 or more, found ", o.cutoff);
  Instructions out;
  std::int64_t number = 0;
  for_records(path, [&](const std::string& where, const Json& record) {
    bool cut = false;
    const Dialogue d = read(JsonFields(where, record));
    Example e = example(d, tokenizer, o, cut);
    e.source = ++number;
    for (const std::int32_t id : e.ids)
      require(id < vocab, ErrorCode::input, where, "token ", id, " is beyond the model's vocabulary of ", vocab);
    if (std::ranges::none_of(e.targets, [](auto t) { return t >= 0; })) {
      ++out.unanswered;
      return true;
    }
    out.cut += cut;
    out.empty += d.answer.empty();
    out.examples.push_back(std::move(e));
    return true;
  });
  require(!out.examples.empty(), ErrorCode::input, path.string(), "holds no example with an answer within ", o.cutoff,
          " tokens");
  return out;
}

}  // namespace sinter
