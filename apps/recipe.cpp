// sinter recipe: a list of steps, each a sub-command, in one run that can be resumed.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/parts.h"
#include "apps/recipe_file.h"
#include "core/file.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

bool lies_within(const fs::path& path, const fs::path& directory) {
  const auto whole = [](const fs::path& p) { return fs::absolute(p).lexically_normal(); };
  const fs::path relative = path.empty() ? fs::path() : whole(path).lexically_relative(whole(directory));
  return !relative.empty() && relative != "." && *relative.begin() != "..";
}

std::uint64_t bytes_at(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return fs::file_size(path);
  std::uint64_t bytes = 0;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error))
    if (it->is_regular_file()) bytes += it->file_size();
  return bytes;
}

// What a recipe has done so far, OUT/results.json: written anew before and after each step, so that a process that dies
// loses one step at most.
class RecipeState {
 public:
  RecipeState(const Recipe& recipe, bool resume, LogSink& log)
      : recipe_(recipe), lock_(recipe.out / "recipe", AtomicDirectory::Stale::adopt) {
    const fs::path file = recipe.out / kRecipeResults;
    if (fs::exists(file)) {
      read(file);
      require(resume || finished_.empty(), ErrorCode::usage, file.native(),
              "holds the results of an earlier run; --resume goes on with it, another --out starts afresh");
      if (!resume) running_ = nullptr;
      forget_stale(log);
    } else {
      for (const auto& entry : fs::directory_iterator(recipe.out))
        require(entry.path().filename() == lock_.path().filename(), ErrorCode::usage, recipe.out.native(),
                "exists, is not empty and holds no results of a recipe");
      if (resume) log.note("no results of an earlier run are here; starting afresh");
    }
    write();
  }

  bool finished(const RecipeStep& step) const { return finished_.contains(step.name); }
  // It began and did not end, and nothing has run since.
  bool was_interrupted(const RecipeStep& step) const { return running_ == as_running(step); }

  void begin(const RecipeStep& step) {
    running_ = as_running(step);
    write();
  }
  void finish(const RecipeStep& step, double seconds, const Json& result) {
    finished_[step.name] = {{"name", step.name},  {"command", step.command->name}, {"args", step.args},
                            {"seconds", seconds}, {"bytes", bytes_at(step.out)},   {"result", result}};
    running_ = nullptr;
    write();
  }

  Json json() const {  // in the order of the recipe
    Json json{{"recipe", recipe_.name}, {"running", running_}, {"steps", Json::array()}};
    for (const RecipeStep& step : recipe_.steps)
      if (finished(step)) json["steps"].push_back(finished_.at(step.name));
    return json;
  }

 private:
  static Json as_running(const RecipeStep& step) {
    return {{"name", step.name}, {"command", step.command->name}, {"args", step.args}};
  }

  void read(const fs::path& file) {
    const Json json = read_json(file);
    const JsonFields fields(file.native(), json);
    if (!fields.at("steps").is_array()) fields.refuse("steps", "a list of finished steps");
    for (const Json& step : json["steps"]) {
      const JsonFields f(file.native(), step);
      (void)f.number("seconds");
      (void)f.integer("bytes", 0);
      (void)f.object("result");
      finished_[f.text("name")] = step;
    }
    if (fields.has("running")) running_ = fields.at("running");
  }

  // Steps that are no longer what was run, those that refer to them, and those whose output is gone.
  void forget_stale(LogSink& log) {
    std::vector<std::string> again;
    for (const RecipeStep& step : recipe_.steps) {
      const auto entry = finished_.find(step.name);
      const Json now = as_running(step);
      const auto used = std::ranges::find_if(
          step.uses, [&](const std::string& name) { return std::ranges::find(again, name) != again.end(); });
      std::string why;
      if (entry == finished_.end()) why = "never ended";
      else if (entry->second.value("command", Json()) != now["command"] ||
               entry->second.value("args", Json()) != now["args"])
        why = "has changed";
      else if (used != step.uses.end()) why = "refers to " + *used;
      else if (entry->second["bytes"] > 0 && !fs::exists(step.out)) why = "has lost what it wrote";
      if (why.empty()) continue;
      again.push_back(step.name);
      if (entry == finished_.end()) continue;
      log.note("step " + step.name + " " + why + " and runs again");
      finished_.erase(entry);
    }
  }

  void write() const { write_text_atomic(recipe_.out / kRecipeResults, json_text(json())); }

  const Recipe& recipe_;
  AtomicDirectory lock_;  // against a second process
  std::map<std::string, Json> finished_;
  Json running_;
};

// Progress of a step, named by its place in the recipe.
class StepLog final : public LogSink {
 public:
  StepLog(LogSink& outer, std::string place) : outer_(outer), place_(std::move(place)) {}
  void note(std::string_view text) override { outer_.note(text); }
  void warn(std::string_view text) override { outer_.warn(text); }
  void progress(const Progress& p) override {
    const std::string stage = place_ + " " + std::string(p.stage);
    Progress placed = p;
    placed.stage = stage;
    outer_.progress(placed);
  }
  bool stop_requested() const override { return outer_.stop_requested(); }

 private:
  LogSink& outer_;
  std::string place_;
};

std::string cell(const Json* value, int digits) {
  return value && value->is_number() ? fixed(value->get<double>(), digits) : "";
}
const Json* field(const Json& object, const char* key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it == object.end() ? nullptr : &*it;
}

void print_results(std::ostream& out, const Json& results) {
  std::size_t width = 4;
  for (const Json& step : results["steps"]) width = std::max(width, step["name"].get_ref<const std::string&>().size());
  const auto row = [&](const std::string& name, const std::string& command, const std::string& ppl,
                       const std::string& nll, const std::string& bits, const std::string& size,
                       const std::string& seconds) {
    char line[160];
    std::snprintf(line, sizeof line, "  %-15s %11s %8s %7s %9s %8s\n", command.c_str(), ppl.c_str(), nll.c_str(),
                  bits.c_str(), size.c_str(), seconds.c_str());
    out << name << std::string(width - name.size(), ' ') << line;
  };
  row("step", "command", "perplexity", "loss", "bits", "size", "seconds");
  for (const Json& step : results["steps"]) {
    const Json& r = step["result"];
    const Json* totals = field(r, "totals");
    const auto bytes = step["bytes"].get<double>();
    row(step["name"], step["command"], cell(field(r, "ppl"), 4), cell(field(r, "nll"), 4),
        cell(field(totals ? *totals : r, "bits_per_weight"), 3), bytes > 0 ? human_bytes(bytes) : "",
        fixed(step["seconds"].get<double>(), 1));
  }
}

class RecipeCommand final : public Command {
 public:
  void declare(Flags& f) override {
    f.positional("FILE", &call_.file,
                 ".json: {\"out\": DIR, \"variables\": {NAME: VALUE}, \"steps\": [{\"name\": NAME, \"command\": "
                 "SUB-COMMAND, FLAG: VALUE}]}; FLAG is a long name without dashes, or model; ${NAME} is a variable, "
                 "${STEP} what an earlier step writes (its --out, by default ${out}/STEP)");
    f.option("--out", "DIR", &call_.out, "Where the steps write, in place of the file's").alias("-o");
    f.option("--set", "NAME=VALUE", &call_.set, "In place of a variable of the file; may be repeated");
    f.flag("--resume", resume_, "Go on with an interrupted or changed recipe: what is finished and the same stays");
    f.flag("--dry-run", dry_run_, "Check every step and print the commands");
  }

  Json run(Session& s) override {
    call_.numerics = {s.compute == Compute::bf16 ? "bf16" : "f32", std::int64_t(s.seed)};
    const Recipe recipe = read_recipe(call_);
    if (dry_run_) return print_commands(s, recipe);
    RecipeState state(recipe, resume_, s.log);
    for (std::size_t i = 0; i < recipe.steps.size(); ++i) {
      const std::string place = std::to_string(i + 1) + "/" + std::to_string(recipe.steps.size());
      const RecipeStep& step = recipe.steps[i];
      if (state.finished(step)) s.log.note("step " + place + " " + step.name + ": finished earlier");
      else run_step(s, recipe, state, step, place);
    }
    Json results = state.json();
    results.erase("running");
    print_results(s.out, results);
    s.out << "written to " << (recipe.out / kRecipeResults).native() << "\n";
    return results;
  }

 private:
  static Json print_commands(Session& s, const Recipe& recipe) {
    Json json{{"recipe", recipe.name}, {"steps", Json::array()}};
    for (const RecipeStep& step : recipe.steps) {
      s.out << "# " << step.name << "\n" << step.line() << "\n";
      json["steps"].push_back({{"name", step.name}, {"command", step.command->name}, {"args", step.args}});
    }
    return json;
  }

  void run_step(Session& s, const Recipe& recipe, RecipeState& state, const RecipeStep& step,
                const std::string& place) const {
    const std::string where = recipe.file + ": step " + place + " " + step.name, again = to_go_on(s);
    const bool resume = step.resumable && state.was_interrupted(step);
    try {
      s.log.check_stop("recipe");
      state.begin(step);
      // Of a run that died before it could say that it was done, or of a step that has changed since.
      if (lies_within(step.out, recipe.out)) fs::remove_all(step.out);
      s.out << "step " << place << " " << step.name << ": " << step.line() << (resume ? " --resume" : "") << std::endl;
      const auto begin = std::chrono::steady_clock::now();
      const ReadyStep ready = make_ready(step, resume);
      StepLog log(s.log, place + " " + step.name + ":");
      // A resumed step takes the line as it is, any other one adds --resume to it.
      Session inner{s.out, log, ready.numerics.mode(), std::uint64_t(ready.numerics.seed),
                    resume ? again : without_resume(s)};
      const Json result = ready.command->run(inner);
      state.finish(step, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), result);
    } catch (const Error& e) {
      const std::string what = e.what();
      throw Error(e.code(), where, what.find(again) != what.npos ? what : what + "; to go on: " + again);
    } catch (const std::bad_alloc&) { fail(ErrorCode::out_of_memory, where, "out of memory; to go on: ", again); }
  }

  static std::string without_resume(const Session& s) {
    std::string line = s.command;
    if (const auto at = line.find(" --resume"); at != line.npos) line.erase(at, std::string_view(" --resume").size());
    return line;
  }
  static std::string to_go_on(const Session& s) { return without_resume(s) + " --resume"; }

  RecipeCall call_;
  bool resume_ = false, dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_recipe() { return std::make_unique<RecipeCommand>(); }

}  // namespace sinter
