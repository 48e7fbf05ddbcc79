#include "apps/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>

#include "core/error.h"
#include "core/match.h"

namespace sinter {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i)
    text += (i == 0 ? "" : i + 1 < words.size() ? ", " : " or ") + words[i];
  return text;
}

template <class T>
T number(const std::string& flag, const std::string& text, const char* what) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool ok = error == std::errc() && end == text.data() + text.size() && !text.empty();
  if constexpr (std::is_floating_point_v<T>) ok = ok && std::isfinite(value);
  require(ok, ErrorCode::usage, flag, "expected ", what, ", found \"", text, "\"");
  return value;
}

std::int64_t integer(const std::string& flag, const std::string& text) {
  return number<std::int64_t>(flag, text, "a whole number");
}
double real(const std::string& flag, const std::string& text) { return number<double>(flag, text, "a number"); }

void assign(const std::string& flag, const FlagTarget& target, const std::string& text) {
  std::visit(
      Match{[](bool*) {}, [&](std::int64_t* t) { *t = integer(flag, text); }, [&](double* t) { *t = real(flag, text); },
            [&](std::string* t) { *t = text; }, [&](std::vector<std::string>* t) { t->push_back(text); },
            [&](std::optional<std::int64_t>* t) { *t = integer(flag, text); },
            [&](std::optional<double>* t) { *t = real(flag, text); },
            [&](std::optional<std::string>* t) { *t = text; }},
      target);
}

// Descriptions in one column, wrapped.
class Layout final : public CLI::Formatter {
 public:
  Layout() { column_width(32); }
  std::string make_option_desc(const CLI::Option* option) const override {
    constexpr std::size_t kWidth = 84;
    std::string text = option->get_description();
    for (std::size_t begin = 0; text.size() - begin > kWidth;) {
      const auto space = text.rfind(' ', begin + kWidth);
      if (space == std::string::npos || space <= begin) break;
      text[space] = '\n';
      begin = space + 1;
    }
    return text;
  }
};

bool is_flag(const std::string& arg) {
  return arg.size() > 1 && arg[0] == '-' && !(arg[1] >= '0' && arg[1] <= '9') && arg[1] != '.';
}

// "MODEL" -> "--model"
std::string flag_of(const std::string& positional) {
  std::string flag = "--";
  for (const char c : positional) flag += c >= 'A' && c <= 'Z' ? char(c + ('a' - 'A')) : c == '_' ? '-' : c;
  return flag;
}

// "--seq_len=5" -> "--seq-len", "5"
std::pair<std::string, std::optional<std::string>> split_flag(const std::string& arg) {
  const auto equals = arg.starts_with("--") ? arg.find('=') : std::string::npos;
  std::string name = arg.substr(0, equals);
  std::replace(name.begin(), name.end(), '_', '-');
  if (equals == std::string::npos) return {name, {}};
  return {name, arg.substr(equals + 1)};
}

}  // namespace

std::string nearest_word(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = 2 + word.size() / 4;  // Levenshtein distances from here on are no typo
  for (const auto& c : candidates) {
    std::vector<std::size_t> row(c.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t(0));
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i + 1);
      for (std::size_t j = 0; j < c.size(); ++j)
        diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, diagonal + (word[i] != c[j])}));
    }
    const bool begins = word.size() > 3 && c.starts_with(word);
    if (row.back() < best_distance || (begins && best.empty())) {
      best = c;
      best_distance = std::min(best_distance, row.back());
    }
  }
  return best;
}

struct Flags::State {
  CLI::App app;
  std::string command, group = "Options";
  std::map<std::string, std::string> names;  // every name -> the main one
  std::map<std::string, CLI::Option*> options;  // by main name or positional's name
  std::map<std::string, bool> takes_value;  // by main name
  std::map<std::string, std::vector<std::string>> words;
  std::vector<std::string> main_names, required;

  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorCode::usage, command, what, " (see sinter ", command, " --help)");
  }
  void check(const std::string& name, const std::string& value) const {
    const auto it = words.find(name);
    if (it == words.end() || std::ranges::find(it->second, value) != it->second.end()) return;
    refuse(name + ": expected " + joined(it->second) + ", found \"" + value + "\"");
  }
};

Flags::Flags(std::string command, std::string summary, std::string examples) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.app.description(std::move(summary));
  s.app.name("sinter " + command);
  s.app.formatter(std::make_shared<Layout>());
  s.app.footer("Examples:\n" + std::move(examples));
  s.app.set_help_flag("-h,--help", "Print this text");
  s.names = {{"-h", "--help"}, {"--help", "--help"}};
  s.command = std::move(command);
}

Flags::~Flags() = default;

void Flags::group(const std::string& title) { state_->group = title; }

Flags::Flag Flags::positional(const std::string& name, FlagTarget target, const std::string& help) {
  State& s = *state_;
  s.options[name] = s.app.add_option(
      name, [name, target](const CLI::results_t& r) { return assign(name, target, r.back()), true; }, help);
  s.options[name]->required();
  s.required.push_back(name);
  s.names.emplace(flag_of(name), name);
  return {*this, name};
}

Flags::Flag Flags::option(const std::string& name, const std::string& value, FlagTarget target,
                          const std::string& help) {
  State& s = *state_;
  const auto take = [name, target, &s](const CLI::results_t& results) {
    for (const auto& text : results) {
      s.check(name, text);
      assign(name, target, text);
    }
    return true;
  };
  CLI::Option* option = s.app.add_option(name, take, help)->type_name(value)->group(s.group)->allow_extra_args(false);
  if (std::holds_alternative<std::vector<std::string>*>(target))
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  s.options[name] = option;
  s.names[name] = name;
  s.takes_value[name] = true;
  s.main_names.push_back(name);
  return {*this, name};
}

Flags::Flag Flags::flag(const std::string& name, bool& target, const std::string& help) {
  State& s = *state_;
  s.options[name] = s.app.add_flag(name, target, help)->group(s.group);
  s.names[name] = name;
  s.takes_value[name] = false;
  s.main_names.push_back(name);
  return {*this, name};
}

Flags::Flag Flags::Flag::alias(const std::string& other) {
  owner_.state_->names[other] = name_;
  return *this;
}

Flags::Flag Flags::Flag::required() {
  owner_.state_->options.at(name_)->required();
  owner_.state_->required.push_back(name_);
  return *this;
}

Flags::Flag Flags::Flag::one_of(std::vector<std::string> words) {
  owner_.state_->words[name_] = std::move(words);
  return *this;
}

std::optional<Flags::Known> Flags::find(std::string name) const {
  std::replace(name.begin(), name.end(), '_', '-');
  const auto it = state_->names.find(name);
  if (it == state_->names.end()) return std::nullopt;
  const auto takes = state_->takes_value.find(it->second);
  return Known{it->second, takes == state_->takes_value.end() ? it->second != "--help" : takes->second};
}

// Names are resolved here, so that CLI11 sees main names only, each value in an argument of its own.
bool Flags::parse(const std::vector<std::string>& args) {
  State& s = *state_;
  std::vector<std::string> clean, positionals;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") {
      positionals.insert(positionals.end(), args.begin() + std::ptrdiff_t(i) + 1, args.end());
      break;
    }
    if (!is_flag(args[i])) {
      positionals.push_back(args[i]);
      continue;
    }
    const auto [name, value] = split_flag(args[i]);
    const auto known = s.names.find(name);
    if (known == s.names.end()) {
      const std::string near = nearest_word(name, s.main_names);
      s.refuse("unknown flag " + name + (near.empty() ? "" : "; did you mean " + near + "?"));
    }
    const std::string& main = known->second;
    if (main == "--help") return false;
    if (!s.takes_value.contains(main)) {  // another name of a positional
      if (!value && i + 1 == args.size()) s.refuse(main + " needs a value");
      positionals.insert(positionals.begin(), value ? *value : args[++i]);
    } else if (!s.takes_value.at(main)) {
      if (value) s.refuse(main + " takes no value");
      if (std::ranges::find(clean, main) == clean.end()) clean.push_back(main);
    } else {
      if (!value && i + 1 == args.size()) s.refuse(main + " needs a value");
      clean.insert(clean.end(), {main, value ? *value : args[++i]});
    }
  }
  for (const auto& name : s.required)
    if (!name.starts_with("-") && positionals.empty()) s.refuse(name + " is missing");
  clean.push_back("--");
  clean.insert(clean.end(), positionals.begin(), positionals.end());
  std::reverse(clean.begin(), clean.end());
  try {
    s.app.parse(clean);
  } catch (const CLI::RequiredError& e) {
    s.refuse(std::string(e.what()).substr(0, std::string_view(e.what()).find(" is required")) + " is missing");
  } catch (const CLI::ExtrasError&) {
    s.refuse("unexpected argument \"" + positionals.back() + "\"");
  } catch (const CLI::ArgumentMismatch& e) {
    s.refuse(std::string(e.what()).substr(0, std::string_view(e.what()).find(':')) + " is given more than once");
  } catch (const CLI::ParseError& e) { s.refuse(e.what()); }
  return true;
}

std::string Flags::help() const {
  std::string text = state_->app.help();
  for (std::size_t at; (at = text.find("\n\n\n")) != std::string::npos;) text.erase(at, 1);
  return text;
}

}  // namespace sinter
