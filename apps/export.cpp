// sinter export: a model in a format of other programs.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/parts.h"
#include "core/file.h"
#include "models/checkpoint.h"
#include "models/interchange/gguf.h"
#include "models/interchange/hf_export.h"

namespace sinter {
namespace {

std::optional<DType> dtype_named(const std::string& name) {
  if (name == "f32") return DType::f32;
  if (name == "f16") return DType::f16;
  if (name == "bf16") return DType::bf16;
  return std::nullopt;
}

// The widths in which a GGUF file's matrices may be asked for.
GgufType gguf_type(const std::string& dtype) {
  if (dtype == "q8_0") return GgufType::q8_0;
  if (dtype == "q4_0") return GgufType::q4_0;
  if (dtype == "f32") return GgufType::f32;
  if (dtype == "f16") return GgufType::f16;
  if (dtype == "bf16") return GgufType::bf16;
  return GgufType::automatic;
}

std::string exactness(double error, const std::string& worst) {
  if (error == 0) return "exact";
  char text[64];
  std::snprintf(text, sizeof text, "rounded, by at most %.2g relative (", error);
  return text + worst + ")";
}

class ExportCommand final : public Command {
 public:
  void declare(Flags& f) override {
    declare_model(f, model_);
    f.option("--to", "dense|gptq|compressed-tensors|gguf", &format_,
             "dense: plain safetensors with exact zeros, for every program; gptq: AutoGPTQ, GPTQModel, transformers, "
             "vLLM; compressed-tensors: vLLM, transformers; gguf: llama.cpp")
        .alias("--format")
        .required()
        .one_of({"dense", "gptq", "compressed-tensors", "gguf"});
    f.option("--out", "DIR_OR_FILE", &out_, "A new directory; for gguf a file").alias("-o").required();
    f.option(
         "--dtype", "f32|f16|bf16|q8_0|q4_0", &dtype_,
         "dense, gguf: what weights are rounded to, q8_0 and q4_0 for gguf alone (default: the source's type or the "
         "codes' own where that is exact; else f32 for dense, f16 for gguf)")
        .alias("--outtype")
        .one_of({"f32", "f16", "bf16", "q8_0", "q4_0"});
  }

  void check() const override {
    const bool blocks = dtype_ == "q8_0" || dtype_ == "q4_0", floats = format_ == "dense" || format_ == "gguf";
    require(dtype_.empty() || floats, ErrorCode::usage, "--dtype", format_,
            " stores codes; only dense and gguf have it");
    require(!blocks || format_ == "gguf", ErrorCode::usage, "--dtype", dtype_, " is a type of gguf alone");
  }

  Json run(Session& s) override {
    Json json = {{"model", model_}, {"to", format_}, {"out", out_}};
    if (format_ == "gguf") {
      check_output_file(out_);
      to_gguf(s, *load_model(model_, &s.log), json);
    } else {
      check_output_directory(out_);
      to_directory(s, *load_model(model_, &s.log), json);
    }
    for (const auto& note : json["notes"]) s.log.note(note.get<std::string>());
    return json;
  }

 private:
  void to_directory(Session& s, CausalLM& model, Json& json) const {
    ExportOptions options;
    options.dtype = dtype_named(dtype_);
    if (format_ == "gptq") options.format = ExportFormat::gptq;
    if (format_ == "compressed-tensors") options.format = ExportFormat::compressed_tensors;
    const std::string obstacle = export_obstacle(grid_facts(model), options.format);
    require(obstacle.empty(), ErrorCode::usage, "export --to " + format_, obstacle);
    AtomicDirectory dir(out_);
    const ExportReport r = export_hf(model, model_, dir.path(), options, s.log);
    dir.commit();
    finish(s, json, r.bytes, r.bits_per_weight, r.error, r.worst);
    json["notes"] = r.notes;
  }

  void to_gguf(Session& s, CausalLM& model, Json& json) const {
    double weights = 0, bits = 0, error = 0;
    std::string worst;
    std::map<std::string, double> size;
    model.each_linear([&](Linear& l) { size[l.name()] = double(l.out_features()) * double(l.in_features()); });
    Json tensors = Json::array();
    for (const GgufTensor& t : write_gguf(model, model_, out_, {gguf_type(dtype_), {}})) {
      tensors.push_back({{"name", t.name}, {"type", t.type}, {"error", t.error}, {"bytes", t.bytes}});
      if (t.error > error) error = t.error, worst = t.name;
      const auto it = size.find(t.name);
      if (it == size.end()) continue;
      weights += it->second;
      bits += 8 * double(t.bytes);
    }
    finish(s, json, std::filesystem::file_size(out_), bits / weights, error, worst);
    json["tensors"] = tensors;
    json["notes"] = Json::array();
  }

  void finish(Session& s, Json& json, std::uint64_t bytes, double bits, double error, const std::string& worst) const {
    s.out << format_ << " written to " << out_ << ": " << human_bytes(double(bytes)) << ", " << fixed(bits, 3)
          << " bits per weight in the linears, " << exactness(error, worst) << "\n";
    json["bytes"] = bytes;
    json["bits_per_weight"] = bits;
    json["exact"] = error == 0;
    json["error"] = error;
    if (error > 0) json["worst"] = worst;
  }

  std::string model_, format_, out_, dtype_;
};

}  // namespace

std::unique_ptr<Command> make_export() { return std::make_unique<ExportCommand>(); }

}  // namespace sinter
