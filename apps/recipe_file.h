#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "apps/command.h"

namespace sinter {

inline constexpr const char* kRecipeResults = "results.json";  // in the directory of a recipe: its own file

// One step of a recipe: a sub-command with its flags, references filled in.
struct RecipeStep {
  std::string name;
  const CommandInfo* command;
  std::vector<std::string> args;
  std::filesystem::path out;  // what it writes; empty: nothing
  std::vector<std::string> uses;  // earlier steps to whose output it refers
  bool resumable = false;  // it has --resume

  std::string line() const { return as_typed(command->name, args); }
};

// A step whose flags are read.
struct ReadyStep {
  std::unique_ptr<Command> command;
  Numerics numerics;
};
ReadyStep make_ready(const RecipeStep&, bool resume);  // Error(usage)

struct Recipe {
  std::string file, name;
  std::filesystem::path out;
  std::vector<RecipeStep> steps;
};

// What the command line says about a recipe.
struct RecipeCall {
  std::string file, out;  // out: in place of the file's, or empty
  std::vector<std::string> set;  // "NAME=VALUE" in place of variables
  Numerics numerics;  // of steps that do not say otherwise
};

// Reads
//
//   {"name": TEXT, "out": DIR, "variables": {NAME: VALUE, ..},
//    "steps": [{"name": NAME, "command": SUB-COMMAND, FLAG: VALUE, ..}, ..]}
//
// and checks all steps: references, and flags as each sub-command declares and checks them. A FLAG is a long name
// without its dashes; true sets a flag that takes no value, a list repeats one. In texts ${NAME} is a variable, ${out}
// the directory of the recipe, ${STEP} what an earlier step writes: its --out, which is ${out}/STEP where none is given.
// Error(input) for what is no such file, Error(usage) naming step and flag for the rest.
Recipe read_recipe(const RecipeCall&);

}  // namespace sinter
