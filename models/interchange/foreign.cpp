#include "models/interchange/foreign.h"

#include <nlohmann/json.hpp>

#include "models/checkpoint.h"
#include "models/interchange/awq.h"
#include "models/interchange/compressed_tensors.h"
#include "models/interchange/gptq.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

struct Announcement {
  Json config;
  std::string where;  // file and field, for messages
  std::string method;
};

std::optional<Announcement> announcement_in(const fs::path& dir) {
  if (const fs::path path = dir / "config.json"; fs::exists(path)) {
    const Json config = read_json(path);
    for (const char* key : {"quantization_config", "compression_config"}) {
      const JsonFields f(path.string(), config);
      if (!f.has(key)) continue;
      const JsonFields q = f.object(key);
      const std::string fallback = q.has("load_in_4bit") || q.has("load_in_8bit")       ? "bitsandbytes"
                                   : q.has("config_groups") || q.has("sparsity_config") ? "compressed-tensors"
                                                                                        : "gptq";
      return Announcement{f.at(key), path.string() + ": " + key, q.text_or("quant_method", fallback)};
    }
  }
  for (const auto& [file, method] : {std::pair{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}})
    if (const fs::path path = dir / file; fs::exists(path)) {
      Json config = read_json(path);
      const std::string named = JsonFields(path.string(), config).text_or("quant_method", method);
      return Announcement{std::move(config), path.string(), named};
    }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<ForeignFormat> foreign_format(const fs::path& dir, const Checkpoint& files,
                                              std::vector<std::string>& warnings) {
  const auto a = announcement_in(dir);
  if (!a || a->method == "sinter") return nullptr;
  if (a->method == "gptq") return read_gptq(a->config, a->where, files, warnings);
  if (a->method == "awq") return read_awq(a->config, a->where);
  if (a->method == "compressed-tensors") return read_compressed_tensors(a->config, a->where, warnings);
  fail(ErrorCode::input, a->where, "quant_method \"", a->method,
       "\" cannot be read; gptq, awq and compressed-tensors can. Take the model as it was before that was applied");
}

std::optional<std::string> gptq_base_name(const fs::path& dir) {
  const auto a = announcement_in(dir);
  if (!a || a->method != "gptq") return std::nullopt;
  const JsonFields f(a->where, a->config);
  const std::string name =
      f.text_or("model_file_base_name", "gptq_model-" + std::to_string(f.integer_or("bits", 4, 0, 64)) + "bit-" +
                                            std::to_string(f.integer_or("group_size", -1, -1, 1 << 24)) + "g");
  if (name.empty() || name.find('/') != std::string::npos || name.find("..") != std::string::npos)
    f.refuse("model_file_base_name", "the name of a file in this directory");
  return name;
}

}  // namespace sinter
