#include "apps/parts.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "apps/cli.h"
#include "core/file.h"
#include "core/json.h"
#include "models/tokenizer.h"
#include "train/prompt.h"

namespace sinter {

namespace fs = std::filesystem;

void declare_model(Flags& f, std::string& model, const std::string& more) {
  f.positional("MODEL", &model, "Model: a directory or a .gguf file" + more).alias("-m").alias("--model-name-or-path");
}

std::vector<std::int32_t> parse_ids(std::string_view flag, std::string_view text) {
  std::vector<std::int32_t> ids;
  const char *at = text.data(), *const end = at + text.size();
  while (at < end) {
    while (at < end && (*at == ' ' || *at == ',' || *at == '[' || *at == ']')) ++at;
    if (at == end) break;
    std::int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    require(error == std::errc() && id >= 0, ErrorCode::usage, flag, "expected ids such as 1,2,3, found \"",
            std::string_view(at, std::size_t(std::min<std::ptrdiff_t>(end - at, 20))), "\"");
    ids.push_back(id);
    at = next;
  }
  require(!ids.empty(), ErrorCode::usage, flag, "holds no ids");
  return ids;
}

std::vector<std::int32_t> read_ids(const fs::path& path) {
  const Json json = read_json(path);
  const Json* list = json.is_object() && json.contains("ids") ? &json["ids"] : &json;
  require(list->is_array() && !list->empty(), ErrorCode::input, path.string(),
          "expected a list of token ids, or an object with the field ids");
  std::vector<std::int32_t> ids;
  for (const auto& id : *list) {
    require(id.is_number_integer() && id.get<std::int64_t>() >= 0 && id.get<std::int64_t>() < (std::int64_t(1) << 31),
            ErrorCode::input, path.string(), "entry ", ids.size(), ": expected a token id, found ", id.dump());
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

void check_ids(std::span<const std::int32_t> ids, std::int64_t vocab, ErrorCode code, std::string_view where) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    require(ids[i] >= 0 && ids[i] < vocab, code, where, "id ", ids[i], " at place ", i,
            " is outside the model's vocabulary of ", vocab);
}

std::string unescape(std::string_view flag, std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    const char c = ++i < text.size() ? text[i] : '\0';
    require(c == 'n' || c == 't' || c == 'r' || c == '\\', ErrorCode::usage, flag, "knows \\n, \\t, \\r and \\\\ only");
    out += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : '\\';
  }
  return out;
}

std::optional<std::string> join_text(const std::optional<std::string>& flag) {
  return flag ? std::optional(unescape("--join", *flag)) : std::nullopt;
}

Tensor soft_prompt_for(const std::string& path, const CausalLM& model, const fs::path& model_dir) {
  return path.empty() ? Tensor() : load_prompt(path, model, *Tokenizer::load(model_dir));
}

void check_output_directory(const fs::path& path) { AtomicDirectory probe(path); }

void check_output_file(const fs::path& path) {
  require(!fs::is_directory(path), ErrorCode::usage, path.string(), "is a directory, expected a file to write");
  AtomicWriter probe(path);
}

Json storage_changes(CausalLM& model, const fs::path& model_dir) {
  bool packed = false;
  model.each_linear([&](Linear& l) {
    const auto* w = std::get_if<FrozenWeightPtr>(&l.weight());
    packed |= w && (*w)->pack().tag != "dense";
  });
  if (packed) return {{"quantization_config", {{"quant_method", "sinter"}, {"version", 1}}}};
  const Json config = read_config_json(model_dir);
  return config.contains("quantization_config") ? Json{{"quantization_config", nullptr}} : Json::object();
}

std::string fixed(double value, int digits) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string human_bytes(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 4) {
    bytes /= 1000;
    ++unit;
  }
  return fixed(bytes, unit == 0 ? 0 : 1) + " " + units[unit];
}

std::int64_t peak_rss_bytes() {
  struct rusage use {};
  getrusage(RUSAGE_SELF, &use);
  return std::int64_t(use.ru_maxrss) * 1024;
}

std::int64_t default_seq_len(std::int64_t wish, const ModelConfig& config, std::int64_t prompt_rows) {
  return std::max<std::int64_t>(2, std::min(wish, config.max_positions - prompt_rows));
}

}  // namespace sinter
