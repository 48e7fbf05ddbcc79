#include "train/compress/run_state.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "core/fnv.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr const char* kManifest = "manifest.json";

// The first field that differs, as "model.config.json.bytes"; empty when nothing does.
std::string difference(const Json& a, const Json& b, const std::string& at = "") {
  if (!a.is_object() || !b.is_object()) return a == b ? "" : at;
  const auto within = [&](const std::string& key) { return at.empty() ? key : at + "." + key; };
  for (const auto& [key, value] : a.items()) {
    if (!b.contains(key)) return within(key);
    std::string found = difference(value, b[key], within(key));
    if (!found.empty()) return found;
  }
  for (const auto& [key, value] : b.items())
    if (!a.contains(key)) return within(key);
  return "";
}

// Its value for a message. Keys may hold dots themselves, hence the search.
std::string value_at(const Json& json, const std::string& at) {
  if (at.empty()) return json.is_null() ? "none" : json.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const auto& [key, value] : json.items()) {
    if (at == key) return value_at(value, "");
    if (value.is_object() && at.starts_with(key + ".")) return value_at(value, at.substr(key.size() + 1));
  }
  return "none";
}

std::string file_hash(const fs::path& path, std::uintmax_t size) {
  constexpr std::uintmax_t kHead = 1 << 20, kPages = 64, kPage = 4096;
  std::ifstream in(path, std::ios::binary);
  Fnv64 hash;
  std::string buffer;
  const auto add = [&](std::uintmax_t at, std::uintmax_t bytes) {
    buffer.resize(std::size_t(bytes));
    in.seekg(std::streamoff(at));
    in.read(buffer.data(), std::streamsize(bytes));
    require(bool(in), ErrorCode::input, path.string(), "cannot be read");
    hash.add(buffer);
  };
  add(0, std::min(size, kHead));
  if (size <= kHead + kPages * kPage) add(std::min(size, kHead), size - std::min(size, kHead));
  else
    for (std::uintmax_t i = 1; i <= kPages; ++i) add(kHead + (size - kHead - kPage) / kPages * i, kPage);
  return hash.hex();
}

bool counts(const fs::path& file) {
  const auto kind = file.extension();
  return file.filename() == "config.json" || file.filename().string().ends_with(".index.json") ||
         kind == ".safetensors" || kind == ".bin" || kind == ".gguf" || file.filename() == "quantize_config.json";
}

}  // namespace

bool RunState::exists(const fs::path& dir) { return fs::exists(dir / kManifest); }

RunState::RunState(fs::path dir, const Json& fingerprint)
    : dir_(std::move(dir)), fingerprint_(std::make_unique<const Json>(fingerprint)) {
  std::error_code error;
  fs::create_directories(dir_, error);
  require(!error, ErrorCode::io, dir_.string(), "cannot be created: ", error.message());
  if (exists(dir_)) read();
}

RunState::~RunState() = default;

void RunState::read() {
  const std::string where = (dir_ / kManifest).string();
  const Json json = read_json(where);
  const JsonFields f(where, json);
  const std::int64_t version = f.integer("version", 0);
  require(version == kVersion, ErrorCode::usage, where, "the state has version ", version, ", this program continues ",
          kVersion, "; without --resume the run starts afresh");
  const Json& theirs = f.at("fingerprint");
  const std::string field = difference(theirs, *fingerprint_);
  require(field.empty(), ErrorCode::usage, where, "the interrupted run had ", field, " ", value_at(theirs, field),
          ", this one has ", value_at(*fingerprint_, field), "; without --resume the run starts afresh");
  finished_ = int(f.integer("finished", 0, 1 << 20));
  hidden_ = int(f.integer("hidden", 0, finished_));
  const Json& linears = f.at("linears");
  if (!linears.is_array()) f.refuse("linears", "a list");
  for (const Json& l : linears) reports_.push_back(read_report(where, l));
  seconds_ = read_seconds(where, f.at("seconds"));
}

fs::path RunState::block_file(int block) const {
  char name[40];
  std::snprintf(name, sizeof name, "block-%04d.safetensors", block);
  return dir_ / name;
}

std::optional<fs::path> RunState::find_block(int block, int blocks) const {
  for (const fs::path& file : {block_file(block), dir_.parent_path() / shard_name(block + 1, blocks + 1)})
    if (fs::exists(file)) return file;
  return std::nullopt;
}

std::string RunState::hash() const {
  Fnv64 hash;
  hash.add(fs::absolute(dir_).string());
  hash.add(fingerprint_->dump(-1, ' ', false, Json::error_handler_t::replace));
  return hash.hex();
}

void RunState::record(int finished, int hidden, const std::vector<LayerReport>& reports, const PhaseSeconds& seconds) {
  finished_ = finished;
  hidden_ = hidden;
  reports_ = reports;
  seconds_ = seconds;
  Json linears = Json::array();
  for (const auto& r : reports) linears.push_back(report_json(r));
  const Json manifest = {{"version", kVersion}, {"fingerprint", *fingerprint_}, {"finished", finished},
                         {"hidden", hidden},    {"linears", linears},           {"seconds", seconds_json(seconds)}};
  write_text_atomic(dir_ / kManifest, json_text(manifest));
}

Json model_fingerprint(const fs::path& model) {
  std::vector<fs::path> files;
  if (!fs::is_directory(model)) files.push_back(model);
  else
    for (const auto& entry : fs::directory_iterator(model))
      if (entry.is_regular_file() && counts(entry.path())) files.push_back(entry.path());
  std::ranges::sort(files);
  Json json = Json::object();
  for (const auto& file : files) {
    const std::uintmax_t size = fs::file_size(file);
    json[file.filename().string()] = {{"bytes", size}, {"hash", file_hash(file, size)}};
  }
  return json;
}

std::string windows_fingerprint(const Windows& windows) {
  Fnv64 hash;
  for (const auto& w : windows) {
    hash.add({reinterpret_cast<const char*>(w.data()), w.size() * sizeof w[0]});
    hash.add("|");
  }
  return hash.hex();
}

}  // namespace sinter
