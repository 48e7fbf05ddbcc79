#include "models/checkpoint.h"

#include <map>
#include <nlohmann/json.hpp>

#include "core/basic_kernels.h"
#include "core/file.h"
#include "core/safetensors_index.h"
#include "models/interchange/foreign.h"
#include "models/interchange/gguf.h"
#include "models/llama.h"
#include "models/opt.h"
#include "models/packed.h"
#include "models/tensor_store.h"
#include "models/weights/formats.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

struct Shard {
  fs::path path;
  std::unique_ptr<TensorStore> store;
};

}  // namespace

struct Checkpoint::State {
  std::string dir;
  std::vector<Shard> shards;
  std::map<std::string, std::size_t> where;  // tensor -> shard
  std::unique_ptr<ForeignFormat> foreign;  // null: nobody else quantised it
  std::vector<std::string> warnings;

  using Opener = std::unique_ptr<TensorStore>(const fs::path&);
  void open(const fs::path& dir);
  void add(const fs::path& file, Opener* opener);
  void add_shards(const fs::path& index, Opener* opener);
};

Checkpoint::Checkpoint(const fs::path& dir) : state_(std::make_unique<State>()) {
  state_->open(dir);
  if (!is_gguf(dir)) state_->foreign = foreign_format(dir, *this, state_->warnings);
}

void Checkpoint::State::add(const fs::path& file, Opener* opener) {
  shards.push_back({file, opener(file)});
  if (auto note = shards.back().store->note(); !note.empty()) warnings.push_back(std::move(note));
}

void Checkpoint::State::add_shards(const fs::path& index, Opener* opener) {
  std::map<std::string, std::size_t> opened;
  for (const auto& [name, file] : parse_shard_index(read_text(index), index.string())) {
    const auto [it, fresh] = opened.try_emplace(file, shards.size());
    if (fresh) add(index.parent_path() / file, opener);
    const Shard& shard = shards[it->second];
    require(shard.store->has(name), ErrorCode::input, shard.path.string(), "tensor ", name, " is missing, although ",
            index.filename().string(), " promises it");
    where.emplace(name, it->second);
  }
}

// Where there is a choice, the format that cannot hold code wins.
void Checkpoint::State::open(const fs::path& path) {
  dir = path.string();
  if (is_gguf(path)) {
    add(path, open_gguf);
    for (auto& tensor : shards[0].store->names()) where.emplace(tensor, 0);
    return;
  }
  const auto gptq = gptq_base_name(path);
  const struct {
    std::string file;
    Opener* opener;
  } containers[] = {{"model.safetensors", open_safetensors},
                    {"model.safetensors.index.json", open_safetensors},
                    {gptq.value_or("model") + ".safetensors", open_safetensors},
                    {"pytorch_model.bin", open_bin},
                    {"pytorch_model.bin.index.json", open_bin}};
  for (const auto& [name, opener] : containers) {
    const fs::path file = path / name;
    if (!fs::exists(file)) continue;
    if (file.extension() == ".json") return add_shards(file, opener);
    add(file, opener);
    for (auto& tensor : shards[0].store->names()) where.emplace(tensor, 0);
    return;
  }
  fail(ErrorCode::input, dir,
       "holds neither model.safetensors nor pytorch_model.bin, nor (for shards) model.safetensors.index.json");
}

Checkpoint::~Checkpoint() = default;

bool Checkpoint::has(const std::string& name) const { return state_->where.contains(name); }

Tensor Checkpoint::tensor(const std::string& name) const {
  const auto it = state_->where.find(name);
  require(it != state_->where.end(), ErrorCode::input, state_->dir, "tensor ", name, " is missing");
  return state_->shards[it->second].store->tensor(name);
}

std::string Checkpoint::file_of(const std::string& name) const {
  const auto it = state_->where.find(name);
  return it == state_->where.end() ? state_->dir : state_->shards[it->second].path.string();
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, shard] : state_->where) names.push_back(name);
  return names;
}

std::uint64_t Checkpoint::bytes_on_disk() const {
  std::uint64_t total = 0;
  for (const auto& s : state_->shards) total += fs::file_size(s.path);
  return total;
}

std::optional<Packed> Checkpoint::packed(const std::string& linear) const {
  for (const Shard& s : state_->shards)
    if (auto p = s.store->packed(linear)) return p;
  return state_->foreign ? state_->foreign->packed(*this, linear) : std::nullopt;
}

std::span<const std::string_view> Checkpoint::foreign_parts() const {
  return state_->foreign ? state_->foreign->parts() : std::span<const std::string_view>();
}

const std::vector<std::string>& Checkpoint::warnings() const { return state_->warnings; }

namespace {

class CheckpointSource final : public TensorSource {
 public:
  explicit CheckpointSource(const fs::path& dir) : from_(dir) {}
  const std::vector<std::string>& warnings() const { return from_.warnings(); }
  bool has(const std::string& name) const override { return from_.has(name); }

  Tensor vector(const std::string& name, Shape shape) override {
    const Tensor t = from_.tensor(name);
    require(t.shape() == shape, ErrorCode::input, from_.file_of(name), "tensor ", name, " has shape ", t.shape(),
            ", config.json needs ", shape);
    require(is_float(t.dtype()), ErrorCode::input, from_.file_of(name), "tensor ", name, " has type ",
            info(t.dtype()).name, ", a float type is needed");
    return cast(t, DType::f32);
  }

  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    FrozenWeightPtr w;
    if (const auto packed = from_.packed(name)) w = load_packed(*packed, name);
    else {
      const Tensor t = from_.tensor(name + ".weight");
      require(t.shape().rank() == 2 && is_float(t.dtype()), ErrorCode::input, from_.file_of(name + ".weight"),
              "tensor ", name, ".weight has shape ", t.shape(), " and type ", info(t.dtype()).name,
              ", a float matrix is needed");
      w = freeze_dense(t);
    }
    require(w->out_features() == out && w->in_features() == in, ErrorCode::input, from_.file_of(name + ".weight"),
            "tensor ", name, ".weight has shape ", Shape{w->out_features(), w->in_features()}, ", config.json needs ",
            Shape{out, in});
    return w;
  }

 private:
  Checkpoint from_;
};

std::unique_ptr<CausalLM> make_model(const ModelConfig& c, TensorSource& source) {
  return c.family == Family::llama ? make_llama(c, source) : make_opt(c, source);
}

class RandomSource final : public TensorSource {
 public:
  RandomSource(std::uint64_t seed, std::int64_t layers)
      : rng_{seed}, residual_(0.02 / std::sqrt(2.0 * double(layers))) {}
  bool has(const std::string&) const override { return false; }

  Tensor vector(const std::string& name, Shape shape) override {
    if (shape.rank() == 2) return normal(shape, 0.02);
    return Tensor::full(shape, name.ends_with(".bias") ? 0 : 1, DType::f32);
  }
  FrozenWeightPtr matrix(const std::string& name, std::int64_t out, std::int64_t in) override {
    const bool residual =
        name.ends_with("o_proj") || name.ends_with("out_proj") || name.ends_with("down_proj") || name.ends_with("fc2");
    return freeze_dense(normal({out, in}, residual ? residual_ : 0.02));
  }

 private:
  Tensor normal(Shape shape, double std) {
    Tensor t = Tensor::empty(shape, DType::f32);
    const Rng rng = rng_.fork(next_++);
    auto x = t.mutable_data<float>();
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(std * rng.normal(i));
    return t;
  }
  Rng rng_;
  std::uint64_t next_ = 0;
  double residual_;
};

}  // namespace

std::unique_ptr<CausalLM> load_model(const fs::path& dir, LogSink* log) {
  const ModelConfig c = read_config(dir);
  CheckpointSource source(dir);
  for (const auto& text : source.warnings())
    if (log) log->warn(text);
  return make_model(c, source);
}

std::unique_ptr<CausalLM> random_model(const ModelConfig& c, std::uint64_t seed) {
  RandomSource source(seed, c.layers);
  auto model = make_model(c, source);
  thaw(*model);
  return model;
}

}  // namespace sinter
