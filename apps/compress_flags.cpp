#include "apps/compress_flags.h"

#include <nlohmann/json.hpp>

#include "apps/memory_limit.h"
#include "apps/parts.h"

namespace sinter {

void CompressFlags::declare(Flags& f) {
  declare_model(f, model);
  f.option("--out", "DIR", &out, "The compressed model, complete in itself; must be new or empty")
      .alias("-o")
      .alias("--save-model")
      .alias("--output-dir");
  f.option("--method", "M", &method_name,
           "magnitude, wanda, sparsegpt, dsnot (prune); rtn, gptq (quantise); sparsegpt or wanda with --bits does both")
      .alias("--prune-method")
      .required();
  f.option("--sparsity", "P", &sparsity, "Share of the weights that becomes zero, such as 0.5")
      .alias("--sparsity-ratio");
  f.option("--pattern", "N:M", &pattern, "Keep N of every M neighbouring weights, such as 2:4")
      .alias("--sparsity-type");
  f.option("--bits", "B", &bits, "2, 3, 4 or 8 bits per weight").alias("--wbits");
  f.option("--group-size", "G", &group_size, "Weights that share a scale; -1: the whole row (default)")
      .alias("--groupsize")
      .alias("--q-group-size");
  f.flag("--sym", sym, "Symmetric grid");
  f.flag("--mse", mse, "Search the grid of least error instead of the full range");
  f.flag("--act-order", act_order, "Columns of the largest inputs first").alias("--desc-act");
  f.flag("--static-groups", static_groups, "Grids of groups found before the sweep");
  f.flag("--true-sequential", true_sequential, "Within a block, later linears see the compressed earlier ones");
  f.option("--calibration", "F", &calibration,
           "Text, .jsonl or .json.gz to sample windows from; .json: a list of windows of ids, taken as they are")
      .alias("--dataset");
  f.option("--calibration-like", "P", &calibration_like,
           "Draw the windows bit for bit as the scripts of sparsegpt, wanda or gptq do")
      .one_of({"sparsegpt", "wanda", "gptq"});
  f.option("--samples", "S", &samples, "Windows to sample (default 128)").alias("--nsamples");
  f.option("--seq-len", "T", &seq_len, "Tokens per window (default: 2048 or what the model's positions allow)")
      .alias("--seqlen");
  f.option("--percdamp", "X", &percdamp, "Share of the mean diagonal added to the Hessian (default 0.01)")
      .alias("--damp");
  f.option("--block-size", "N", &block_size, "Columns between two lazy updates (default 128)").alias("--blocksize");
  f.option("--only", "REGEX", &only, "Only linears whose name matches, such as layers\\.[0-3]\\..*mlp");
  f.option("--skip", "REGEX", &skip, "Not the linears whose name matches");
  f.option("--save", "packed|dense", &save,
           "packed: quantised weights as codes (default); dense: plain tensors for any program")
      .one_of({"packed", "dense"});
  f.option(
      "--set", "KEY=VALUE", &settings_of_method,
      "A setting of the method that has no flag: initial, cycles, threshold, power, same_sign, attention_only (dsnot); "
      "variant (wanda); one_more (sparsegpt); stale_groups, scale32, min_zero, half_sym (grids). Repeatable");
  f.option("--scratch", "DIR", &scratch,
           "Keep the hidden states of the calibration windows in files there, not in memory; removed at the end");
  f.option(
      "--max-memory", "N", &max_memory,
      "Bytes, or with K, M, G (powers of 1024), such as 4G. What helps is chosen (hidden states in files, one Gram "
      "matrix at a time); what cannot be done in that much is refused before it begins");
  f.flag("--resume", resume,
         "Go on with what an interrupted run left in DIR.partial, to the same bytes; without such a state, start "
         "afresh. A "
         "run without --resume drops that state");
  f.flag("--dry-run", dry_run,
         "Print what would be done, with memory and time by phase, after two seconds of measuring");
}

Sparsity CompressFlags::target() const {
  if (pattern && *pattern != "unstructured") return parse_pattern(*pattern);
  if (sparsity) return Fraction{*sparsity};
  return Unpruned{};
}

std::unique_ptr<LayerMethod> CompressFlags::make() const {
  const bool patterned = pattern && *pattern != "unstructured";
  require(!(sparsity && patterned), ErrorCode::usage, "compress", "--sparsity and --pattern exclude each other");
  require(!sparsity || (*sparsity >= 0 && *sparsity < 1), ErrorCode::usage, "--sparsity",
          "expected a share from 0 to below 1 (0.5 is half), found ", sparsity.value_or(0));
  require(!group_size || *group_size == -1 || *group_size >= 1, ErrorCode::usage, "--group-size",
          "expected -1 or a positive number, found ", group_size.value_or(0));
  require(samples >= 1, ErrorCode::usage, "--samples", "expected 1 or more, found ", samples);
  require(!seq_len || *seq_len >= 2, ErrorCode::usage, "--seq-len", "expected 2 or more, found ", seq_len.value_or(0));
  require(dry_run || !out.empty(), ErrorCode::usage, "compress", "--out is missing");
  require(calibration_like.empty() || !calibration.empty(), ErrorCode::usage, "--calibration-like",
          "needs --calibration");
  (void)memory_limit();

  std::vector<std::string> names;
  for (const auto& m : methods()) names.emplace_back(m.name);
  if (std::ranges::find(names, method_name) == names.end()) {
    const std::string near = nearest_word(method_name, names);
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    fail(ErrorCode::usage, "--method", "\"", method_name, "\" is none of ", all,
         near.empty() ? "" : "; did you mean " + near + "?");
  }
  MethodOptions o;
  if (bits) o.set("bits", std::to_string(*bits));
  if (group_size) o.set("group", std::to_string(*group_size));
  if (sym) o.set("sym", "1");
  if (mse) o.set("mse", "1");
  if (act_order) o.set("act_order", "1");
  if (static_groups) o.set("static_groups", "1");
  if (percdamp) o.set("damp", Json(*percdamp).dump());
  if (block_size) o.set("block", std::to_string(*block_size));
  for (const std::string& setting : settings_of_method) {
    const auto equals = setting.find('=');
    require(equals != std::string::npos && equals > 0, ErrorCode::usage, "--set", "expected key=value, found \"",
            setting, "\"");
    require(!o.has(setting.substr(0, equals)), ErrorCode::usage, "--set", setting.substr(0, equals), " is given twice");
    o.set(setting.substr(0, equals), setting.substr(equals + 1));
  }
  require(bits || (method_name != "gptq" && method_name != "rtn"), ErrorCode::usage, method_name,
          "needs --bits 2, 3, 4 or 8");
  auto made = make_method(method_name, o);
  const bool prunes = sparsity || patterned;
  require(prunes || made->pruning() != LayerMethod::Pruning::required, ErrorCode::usage, method_name,
          "needs --sparsity or --pattern");
  require(!prunes || made->pruning() != LayerMethod::Pruning::none, ErrorCode::usage, method_name,
          "does not prune; --method sparsegpt with --bits does both");
  require(!made->needs().any() || !calibration.empty(), ErrorCode::usage, method_name, "needs --calibration");
  (void)target();
  return made;
}

std::optional<double> CompressFlags::memory_limit() const {
  if (max_memory.empty()) return std::nullopt;
  return parse_bytes("--max-memory", max_memory);
}

Json CompressFlags::settings(std::int64_t windows, std::int64_t length, const Session& session) const {
  const auto given = [](const auto& v) { return v ? Json(*v) : Json(nullptr); };
  return {{"method", method_name},
          {"sparsity", given(sparsity)},
          {"pattern", given(pattern)},
          {"bits", given(bits)},
          {"group_size", group_size.value_or(-1)},
          {"sym", sym},
          {"mse", mse},
          {"act_order", act_order},
          {"static_groups", static_groups},
          {"true_sequential", true_sequential},
          {"percdamp", percdamp.value_or(0.01)},
          {"block_size", block_size.value_or(128)},
          {"set", settings_of_method},
          {"calibration", calibration},
          {"calibration_like", calibration_like},
          {"samples", windows},
          {"seq_len", length},
          {"only", only},
          {"skip", skip},
          {"save", save},
          {"compute", session.compute == Compute::bf16 ? "bf16" : "f32"},
          {"seed", session.seed}};
}

}  // namespace sinter
