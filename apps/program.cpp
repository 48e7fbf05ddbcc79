#include "apps/program.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <new>
#include <nlohmann/json.hpp>
#include <span>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "core/file.h"
#include "core/parallel.h"
#include "ops/backend.h"

namespace sinter {
namespace {

constexpr const char* kVersion = "0.1.0";
constexpr std::int64_t kMaxThreads = 4096;

struct CommonFlags {
  std::string device = "cpu", json, progress = "bar";
  Numerics numerics;
  std::optional<std::int64_t> threads;
  bool quiet = false;

  void declare(Flags& f) {
    f.group("Common to every sub-command");
    f.option("--device", "cpu|cuda[:N]", &device, "Where to compute (default cpu)");
    numerics.declare(f);
    f.option("--threads", "N", &threads, "Threads (default: the cores this process may use)").alias("-t");
    f.option("--json", "FILE", &json,
             "The result as one JSON object; - for standard output, text for people then goes to standard error");
    f.flag("--quiet", quiet, "No progress and no notes; only warnings and errors").alias("-q");
    f.option("--progress", "bar|json|none", &progress,
             "On standard error; a bar needs a terminal, otherwise plain lines (default bar)")
        .one_of({"bar", "json", "none"});
  }
};

// "cuda:1" -> kind; an index other than digits is refused.
void use_device(const std::string& text) {
  if (text == "cpu") return;
  const bool cuda = text == "cuda" || (text.starts_with("cuda:") && text.size() > 5 &&
                                       text.find_first_not_of("0123456789", 5) == std::string::npos);
  require(cuda, ErrorCode::usage, "--device", "expected cpu, cuda or cuda:N, found \"", text, "\"");
  require_backend(DeviceKind::cuda);
  fail(ErrorCode::usage, "--device " + text, "no sub-command runs on CUDA yet");
}

ProgressStyle style_of(const CommonFlags& c, bool terminal) {
  if (c.progress == "json") return ProgressStyle::json;
  if (c.progress == "none") return ProgressStyle::none;
  return terminal ? ProgressStyle::bar : ProgressStyle::lines;
}

// A place for results that cannot be written should be known before the work, not after it.
void probe_output(const std::string& json) {
  if (!json.empty() && json != "-") AtomicWriter probe(json);
}

void check_written(std::ostream& out) {
  out.flush();
  require(bool(out), ErrorCode::io, "standard output", "cannot be written: the disk is full or the reader is gone");
}

// Names and summaries of sub-commands, in columns.
std::string listed(const std::string& before, const std::function<bool(std::string_view)>& which) {
  std::size_t width = 0;
  for (const auto& c : commands())
    if (which(c.name)) width = std::max(width, c.name.size());
  std::string text;
  for (const auto& c : commands())
    if (which(c.name))
      text +=
          before + std::string(c.name) + std::string(width + 2 - c.name.size(), ' ') + std::string(c.summary) + "\n";
  return text;
}

// Its examples, and the sub-commands of two words that begin with its name.
std::string footer(const CommandInfo& info) {
  const std::string begin = std::string(info.name) + " ";
  const std::string more = listed("  sinter ", [&](std::string_view name) { return name.starts_with(begin); });
  return std::string(info.examples) + (more.empty() ? "" : "\n\nSee also:\n" + more);
}

int run_command(const CommandInfo& info, const std::vector<std::string>& args, const Terminal& t) {
  const auto command = info.make();
  Flags flags{std::string(info.name), std::string(info.summary), footer(info)};
  CommonFlags common;
  command->declare(flags);
  common.declare(flags);
  if (!flags.parse(args)) {
    t.out << flags.help();
    return 0;
  }
  use_device(common.device);
  require(!common.threads || (*common.threads >= 1 && *common.threads <= kMaxThreads), ErrorCode::usage, "--threads",
          "expected 1 to ", kMaxThreads, ", found ", common.threads.value_or(0));
  common.numerics.check();
  command->check();
  if (common.threads) set_threads(int(*common.threads));
  probe_output(common.json);

  const bool json_on_out = common.json == "-";
  ProgressLog log(t.err, style_of(common, t.err_is_terminal), common.quiet);
  TextBuffer buffer(!json_on_out ? t.out.rdbuf() : common.quiet ? nullptr : t.err.rdbuf(), log);
  std::ostream out(&buffer);
  Session session{out, log, common.numerics.mode(), std::uint64_t(common.numerics.seed), as_typed(info.name, args)};
  const Json result = command->run(session);
  check_written(out);
  if (json_on_out) t.out << json_text(result);
  else if (!common.json.empty()) write_text_atomic(common.json, json_text(result));
  return 0;
}

std::string program_help() {
  return "sinter: compress LLaMA and OPT language models and heal them with soft prompts\n"
         "Usage: sinter SUB-COMMAND ... (sinter SUB-COMMAND --help for its flags and examples)\n\nSub-commands:\n" +
         listed("  ", [](std::string_view) { return true; }) +
         "\nMODEL is a directory, a Hugging Face checkpoint or one that sinter wrote, or a LLaMA in a .gguf file.\n"
         "Exit codes: 0 done; 1 failed at work; 2 wrong usage; 3 bad input file; 130 interrupted.\n"
         "\nExamples:\n"
         "  sinter compress MODEL --out small --method sparsegpt --sparsity 0.5 --calibration train.jsonl\n"
         "  sinter prompt small --data train.jsonl --validation valid.jsonl --out prompt.safetensors --steps 500\n"
         "  sinter perplexity small --text valid.jsonl --soft-prompt prompt.safetensors\n"
         "\nOther flags: --help, --version\n";
}

// The sub-command that the arguments begin with: one of two words ("prompt bake") before one of the first word alone.
const CommandInfo* find_command(std::span<const std::string> args) {
  const CommandInfo* found = nullptr;
  for (const auto& c : commands()) {
    if (args.size() > 1 && c.name == args[0] + " " + args[1]) return &c;
    if (c.name == args[0]) found = &c;
  }
  return found;
}

int dispatch(std::vector<std::string> args, const Terminal& t) {
  if (!args.empty() && args[0] == "help") {
    args.erase(args.begin());
    args.emplace_back("--help");
  }
  if (!args.empty() && (args[0] == "--help" || args[0] == "-h")) {
    t.out << program_help();
    return 0;
  }
  if (!args.empty() && args[0] == "--version") {
    t.out << "sinter " << kVersion << "\n";
    return 0;
  }
  require(!args.empty(), ErrorCode::usage, "usage", "a sub-command is missing (see sinter --help)");
  if (const CommandInfo* c = find_command(args)) {
    const auto words = std::ranges::count(c->name, ' ') + 1;
    return run_command(*c, {args.begin() + words, args.end()}, t);
  }
  std::vector<std::string> names;
  for (const auto& c : commands()) names.emplace_back(c.name);
  const std::string near = nearest_word(args[0], names);
  fail(ErrorCode::usage, args[0], "no such sub-command", near.empty() ? "" : "; did you mean " + near + "?",
       " (see sinter --help)");
}

// One line whatever a file name may hold.
int report(const Terminal& t, int code, std::string message) {
  for (char& c : message)
    if (std::uint8_t(c) < 0x20 || c == 0x7f) c = ' ';
  t.err << "sinter: " << message << std::endl;
  return code;
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::usage: return 2;
    case ErrorCode::input: return 3;
    case ErrorCode::interrupted: return 130;
    default: return 1;
  }
}

}  // namespace

int run_program(const std::vector<std::string>& args, const Terminal& t) {
  try {
    const int code = dispatch(args, t);
    check_written(t.out);
    return code;
  } catch (const Error& e) { return report(t, exit_code(e.code()), e.what()); } catch (const std::bad_alloc&) {
    return report(t, 1, "out of memory");
  } catch (const std::exception& e) { return report(t, 1, e.what()); }
}

}  // namespace sinter
