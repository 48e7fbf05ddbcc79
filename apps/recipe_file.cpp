#include "apps/recipe_file.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongest = 1 << 16;  // of a value, references filled in

bool is_name(const std::string& text) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", kNext = "_-";
  return !text.empty() && text.size() <= 100 && kFirst.find(text[0]) != kFirst.npos &&
         std::ranges::all_of(text,
                             [&](char c) { return kFirst.find(c) != kFirst.npos || kNext.find(c) != kNext.npos; });
}

const CommandInfo& command_named(const std::string& name, const std::string& where) {
  std::vector<std::string> names;
  for (const CommandInfo& c : commands()) {
    if (c.name == name && name != "recipe") return c;
    names.emplace_back(c.name);
  }
  require(name != "recipe", ErrorCode::usage, where, "a recipe is no step of a recipe");
  const std::string near = nearest_word(name, names);
  fail(ErrorCode::usage, where, "no such sub-command: ", name, near.empty() ? "" : "; did you mean " + near + "?");
}

struct DeclaredFlags {
  ReadyStep step;
  Flags flags;
  explicit DeclaredFlags(const CommandInfo& c)
      : step{c.make(), {}}, flags(std::string(c.name), std::string(c.summary), std::string(c.examples)) {
    step.command->declare(flags);
    step.numerics.declare(flags);
  }
};

class Reader {
 public:
  explicit Reader(const RecipeCall& call) : call_(call) {}

  Recipe read() {
    const Json json = read_json(call_.file);
    const JsonFields fields(call_.file, json);
    check_keys(json);
    recipe_.file = call_.file;
    recipe_.name = fields.text_or("name", fs::path(call_.file).stem().native());
    recipe_.out = call_.out.empty() ? fields.text("out") : call_.out;
    values_["out"] = recipe_.out.native();
    read_variables(fields);
    const Json& steps = fields.at("steps");
    if (!steps.is_array() || steps.empty()) fields.refuse("steps", "a list of steps");
    for (const Json& step : steps) {
      const JsonFields f(call_.file + ": step " + std::to_string(later_.size() + 1), step);
      later_.push_back(f.text("name"));
    }
    for (const Json& step : steps) read_step(step);
    return std::move(recipe_);
  }

 private:
  struct Uses {
    std::string where;
    std::vector<std::string> steps;
  };

  void check_keys(const Json& json) const {
    const std::vector<std::string> known{"name", "out", "variables", "steps"};
    for (const auto& [key, value] : json.items()) {
      const std::string near = nearest_word(key, known);
      require(std::ranges::find(known, key) != known.end(), ErrorCode::input, call_.file, "field ", key, ": unknown",
              near.empty() ? "; expected name, out, variables or steps" : "; did you mean " + near + "?");
    }
  }

  void read_variables(const JsonFields& fields) {
    const Json none = Json::object();
    const Json& variables = fields.has("variables") ? fields.at("variables") : none;
    if (!variables.is_object()) fields.refuse("variables", "an object");
    std::map<std::string, std::string> set;
    for (const std::string& s : call_.set) {
      const auto equals = s.find('=');
      require(equals != s.npos, ErrorCode::usage, "--set", "expected NAME=VALUE, found \"", s, "\"");
      set[s.substr(0, equals)] = s.substr(equals + 1);
    }
    for (const auto& [name, value] : variables.items()) {
      const std::string where = call_.file + ": variable " + name;
      claim(name, where);
      Uses none_used{where, {}};
      const auto given = set.find(name);
      values_[name] = given == set.end() ? text_of(value, none_used) : given->second;
      set.erase(name);
    }
    for (const auto& [name, value] : set) unknown(name, "--set");
  }

  void claim(const std::string& name, const std::string& where) const {
    require(is_name(name), ErrorCode::usage, where, "a name is made of letters, digits, _ and -");
    require(!values_.contains(name), ErrorCode::usage, where, "the name is taken already");
  }

  [[noreturn]] void unknown(const std::string& name, const std::string& where) const {
    std::vector<std::string> names;
    for (const auto& [known, value] : values_) names.push_back(known);
    const std::string near = nearest_word(name, names);
    fail(ErrorCode::usage, where, "no variable or earlier step is called ", name,
         near.empty() ? "" : "; did you mean " + near + "?");
  }

  // ${NAME} filled in.
  std::string filled(const std::string& text, Uses& uses) const {
    std::string result;
    for (std::size_t at = 0;;) {
      const std::size_t open = text.find("${", at);
      result += text.substr(at, open - at);
      require(result.size() <= kLongest, ErrorCode::usage, uses.where, "is longer than ", kLongest, " bytes");
      if (open == text.npos) return result;
      const std::size_t close = text.find('}', open);
      require(close != text.npos, ErrorCode::usage, uses.where, "\"", text, "\" has ${ without }");
      const std::string name = text.substr(open + 2, close - open - 2);
      const auto value = values_.find(name);
      if (value == values_.end()) {
        require(std::ranges::find(later_, name) == later_.end(), ErrorCode::usage, uses.where, "${", name,
                "} is this step or a later one");
        unknown(name, uses.where);
      }
      if (std::ranges::any_of(recipe_.steps, [&](const RecipeStep& s) { return s.name == name; })) {
        require(!value->second.empty(), ErrorCode::usage, uses.where, "step ", name, " writes nothing to refer to");
        uses.steps.push_back(name);
      }
      result += value->second;
      at = close + 1;
    }
  }

  std::string text_of(const Json& value, Uses& uses) const {
    if (value.is_string()) return filled(value.get<std::string>(), uses);
    require(value.is_number() || value.is_boolean(), ErrorCode::usage, uses.where,
            "expected a text, a number, true or false, found ", value.dump().substr(0, 40));
    return value.dump();
  }

  void read_step(const Json& json) {
    const JsonFields fields(call_.file, json);
    RecipeStep step;
    step.name = fields.text("name");
    const std::string where = call_.file + ": step " + step.name;
    claim(step.name, where);
    step.command = &command_named(JsonFields(where, json).text("command"), where);
    const DeclaredFlags declared(*step.command);
    step.resumable = declared.flags.find("--resume").has_value();
    Uses uses{where, {}};
    for (const auto& [key, value] : json.items())
      if (key != "name" && key != "command") add_flag(step, declared.flags, key, value, uses);
    complete(step, declared.flags);
    step.uses = std::move(uses.steps);
    try {
      (void)make_ready(step, false);
    } catch (const Error& e) { throw Error(e.code(), where, e.what()); }
    require(step.out.lexically_normal() != (recipe_.out / kRecipeResults).lexically_normal(), ErrorCode::usage, where,
            "writes ", step.out.native(), ", which is the recipe's own");
    for (const RecipeStep& other : recipe_.steps)
      require(step.out.empty() || step.out.lexically_normal() != other.out.lexically_normal(), ErrorCode::usage, where,
              "writes ", step.out.native(), " as step ", other.name, " does");
    values_[step.name] = step.out.native();
    recipe_.steps.push_back(std::move(step));
  }

  void add_flag(RecipeStep& step, const Flags& flags, const std::string& key, const Json& value, Uses& uses) const {
    const std::string flag = "--" + key, step_where = uses.where;
    for (const char* ours : {"resume", "json", "quiet", "progress", "threads", "device", "help"})
      require(key != ours, ErrorCode::usage, step_where, flag, " belongs to the whole recipe: sinter recipe ",
              call_.file, " ", flag);
    const auto known = flags.find(flag);
    const std::string name = known ? known->name : flag;  // make_ready() refuses the unknown
    uses.where = step_where + ": " + flag;
    if (known && !known->takes_value) {
      const std::string text = text_of(value, uses);
      require(text == "true" || text == "false", ErrorCode::usage, uses.where, "expected true or false, found ", text);
      if (text == "true") step.args.push_back(name);
    } else {
      const bool list = value.is_array();
      for (std::size_t i = 0; i < (list ? value.size() : 1); ++i) {
        const Json& one = list ? value[i] : value;
        require(!known || !one.is_boolean(), ErrorCode::usage, uses.where, "needs a value, found ", one.dump());
        const std::string text = text_of(one, uses);
        if (name == "--out") step.out = text;
        if (name.starts_with("-")) step.args.insert(step.args.end(), {name, text});
        else step.args.insert(step.args.begin(), text);
      }
    }
    uses.where = step_where;
  }

  // What a step need not say.
  void complete(RecipeStep& step, const Flags& flags) const {
    const auto given = [&](const char* name) { return std::ranges::find(step.args, name) != step.args.end(); };
    if (flags.find("--out") && step.out.empty()) {
      step.out = recipe_.out / step.name;
      step.args.insert(step.args.end(), {"--out", step.out.native()});
    }
    const Numerics& n = call_.numerics;
    if (n.seed != 0 && !given("--seed")) step.args.insert(step.args.end(), {"--seed", std::to_string(n.seed)});
    if (n.compute != "f32" && !given("--compute")) step.args.insert(step.args.end(), {"--compute", n.compute});
  }

  const RecipeCall& call_;
  Recipe recipe_;
  std::map<std::string, std::string> values_;  // of variables, and what earlier steps write
  std::vector<std::string> later_;  // the names of all steps
};

}  // namespace

ReadyStep make_ready(const RecipeStep& step, bool resume) {
  DeclaredFlags declared(*step.command);
  std::vector<std::string> args = step.args;
  if (resume) args.emplace_back("--resume");
  require(declared.flags.parse(args), ErrorCode::usage, step.command->name, "a step cannot ask for help");
  declared.step.numerics.check();
  declared.step.command->check();
  return std::move(declared.step);
}

Recipe read_recipe(const RecipeCall& call) { return Reader(call).read(); }

}  // namespace sinter
