#include "train/snapshot.h"

#include <nlohmann/json.hpp>

#include "core/json.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMaxCount = std::int64_t{1} << 53;

std::string numbered(const char* what, std::size_t k) { return what + ("." + std::to_string(k)); }

// Numbers that are not there yet (NaN, infinity) become null, and absent when read.
std::string state_text(const TrainState& s) {
  return Json{{"version", kVersion},        {"step", s.step},
              {"tokens", s.tokens},         {"loss", s.loss},
              {"validated", s.validated},   {"first_validation", s.first_validation},
              {"validation", s.validation}, {"best", s.best},
              {"best_step", s.best_step},   {"misses", s.misses}}
      .dump();
}

TrainState read_state(const std::string& file, const std::string& text) {
  const std::string where = file + ": sinter.state";
  const Json json = parse_json(text, where);
  const JsonFields f(where, json);
  f.integer("version", kVersion, kVersion);
  TrainState s;
  s.step = f.integer("step", 0, kMaxCount);
  s.tokens = f.integer("tokens", 0, kMaxCount);
  s.loss = f.number("loss");
  s.validated = f.integer("validated", -1, s.step);
  s.first_validation = f.number_or("first_validation", NAN);
  s.validation = f.number_or("validation", NAN);
  s.best = f.number_or("best", INFINITY);
  s.best_step = f.integer("best_step", 0, s.step);
  s.misses = f.integer("misses", 0, kMaxCount);
  return s;
}

}  // namespace

void save_snapshot(const fs::path& path, const RunSettings& settings, const std::vector<Param*>& params,
                   const AdamW& adam, const TrainState& s) {
  NamedTensors t;
  for (std::size_t k = 0; k < params.size(); ++k) {
    t.emplace_back(numbered("param", k), params[k]->value());
    if (!s.best_params.empty()) t.emplace_back(numbered("best", k), s.best_params[k]);
  }
  adam.save(t);
  write_tensors(path, t,
                {{"sinter.fixed", settings.fixed}, {"sinter.free", settings.free}, {"sinter.state", state_text(s)}});
}

Snapshot load_snapshot(const fs::path& path, const RunSettings& settings, const std::vector<Param*>& params,
                       AdamW& adam) {
  const TensorFile file(path);
  const auto field = [&](const char* key) {
    const auto it = file.metadata().find(key);
    require(it != file.metadata().end(), ErrorCode::input, path.string(), "metadata ", key, " is missing");
    return it->second;
  };
  const std::string fixed = field("sinter.fixed");
  require(fixed == settings.fixed, ErrorCode::input, path.string(), "comes from a run with other settings: ", fixed,
          "; now: ", settings.fixed);
  Snapshot s{read_state(path.string(), field("sinter.state")), field("sinter.free")};
  for (std::size_t k = 0; k < params.size(); ++k) {
    const Tensor& now = params[k]->value();
    if (s.state.validated >= 0) s.state.best_params.push_back(stored_like(file, numbered("best", k), now));
    params[k]->assign(stored_like(file, numbered("param", k), now));
  }
  adam.load(file, s.state.step);
  return s;
}

void remove_unfinished(const fs::path& snapshot) {
  const std::string begin = snapshot.filename().string() + ".tmp";
  std::vector<fs::path> found;
  std::error_code ignored;
  const fs::path dir = snapshot.has_parent_path() ? snapshot.parent_path() : fs::path(".");
  for (fs::directory_iterator it(dir, ignored), end; !ignored && it != end; it.increment(ignored))
    if (it->path().filename().string().starts_with(begin)) found.push_back(it->path());
  for (const auto& file : found) fs::remove(file, ignored);
}

}  // namespace sinter
