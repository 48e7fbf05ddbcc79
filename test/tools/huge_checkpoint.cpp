// Writes a bf16 checkpoint of LLaMA-2's shape whose first blocks are random and whose other blocks are holes of a
// sparse file, and windows of random ids to calibrate on: for measuring memory on a disk smaller than the model.
//
//     huge_checkpoint 7b|70b DIR BLOCKS WINDOWS LENGTH
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/half.h"
#include "core/json.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/safetensors.h"

namespace {

using namespace sinter;
namespace st = safetensors;

struct Size {
  std::uint64_t hidden, ffn, layers, heads, kv_heads, vocab = 32000;
};

std::vector<st::TensorInfo> tensors_of(const Size& s) {
  std::vector<st::TensorInfo> all;
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    st::TensorInfo t;
    t.name = name;
    t.dtype = st::Dtype::BF16;
    t.shape = std::move(shape);
    all.push_back(std::move(t));
  };
  const std::uint64_t kv = s.hidden / s.heads * s.kv_heads;
  add("model.embed_tokens.weight", {s.vocab, s.hidden});
  add("lm_head.weight", {s.vocab, s.hidden});
  add("model.norm.weight", {s.hidden});
  for (std::uint64_t b = 0; b < s.layers; ++b) {
    const std::string at = "model.layers." + std::to_string(b) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) add(at + norm + ".weight", {s.hidden});
    for (const char* square : {"q_proj", "o_proj"}) add(at + "self_attn." + square + ".weight", {s.hidden, s.hidden});
    for (const char* narrow : {"k_proj", "v_proj"}) add(at + "self_attn." + narrow + ".weight", {kv, s.hidden});
    for (const char* tall : {"gate_proj", "up_proj"}) add(at + "mlp." + tall + ".weight", {s.ffn, s.hidden});
    add(at + "mlp.down_proj.weight", {s.hidden, s.ffn});
  }
  return all;
}

Json config_of(const Size& s) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", s.hidden},
          {"intermediate_size", s.ffn},
          {"num_hidden_layers", s.layers},
          {"num_attention_heads", s.heads},
          {"num_key_value_heads", s.kv_heads},
          {"vocab_size", s.vocab},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-5},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

// Uniform in [-0.5, 0.5) by splitmix64, which is as fast as the disk.
float uniform(std::uint64_t stream, std::uint64_t i) {
  std::uint64_t z = (stream << 40) + i * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return float(double((z ^ (z >> 31)) >> 11) * 0x1p-53 - 0.5);
}

// Of standard deviation 0.02; ones for a vector.
void fill(int file, const st::TensorInfo& t, std::uint64_t offset, std::uint64_t stream) {
  constexpr std::int64_t kPiece = 1 << 18;
  const bool matrix = t.shape.size() == 2;
  const auto count = std::int64_t(t.bytes() / 2);
  parallel_for((count + kPiece - 1) / kPiece, 1, [&](std::int64_t piece, std::int64_t) {
    const std::int64_t begin = piece * kPiece, end = std::min(count, begin + kPiece);
    std::vector<bf16> values;
    for (std::int64_t i = begin; i < end; ++i)
      values.push_back(from_float<bf16>(matrix ? 0.02f * 3.4641f * uniform(stream + 1, std::uint64_t(i)) : 1.f));
    const std::size_t bytes = values.size() * sizeof(bf16);
    require(::pwrite(file, values.data(), bytes, off_t(offset + std::uint64_t(begin) * 2)) == ssize_t(bytes),
            ErrorCode::io, t.name, "cannot be written");
  });
}

// Of the ends, or of a block below `blocks`.
bool filled(const std::string& name, std::uint64_t blocks) {
  const std::string at = "model.layers.";
  return !name.starts_with(at) || std::stoull(name.substr(at.size())) < blocks;
}

void write_checkpoint(const Size& s, const std::filesystem::path& dir, std::uint64_t blocks) {
  auto tensors = tensors_of(s);
  const std::string header = st::make_header(tensors);
  const int file = ::open((dir / "model.safetensors").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0666);
  require(file >= 0 && ::write(file, header.data(), header.size()) == ssize_t(header.size()) &&
              ::ftruncate(file, off_t(header.size() + tensors.back().end)) == 0,
          ErrorCode::io, dir.string(), "cannot be written");
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (filled(tensors[i].name, blocks)) fill(file, tensors[i], header.size() + tensors[i].begin, i);
  ::close(file);
  write_text_atomic(dir / "config.json", json_text(config_of(s)));
}

void write_windows(const Size& s, const std::filesystem::path& path, std::uint64_t count, std::uint64_t length) {
  Json windows = Json::array();
  const Rng rng{2, 0};
  for (std::uint64_t w = 0; w < count; ++w) {
    Json ids = Json::array();
    for (std::uint64_t t = 0; t < length; ++t) ids.push_back(rng.below(w * length + t, s.vocab));
    windows.push_back(ids);
  }
  write_text_atomic(path, windows.dump());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string size = argc == 6 ? argv[1] : "";
  if (size != "7b" && size != "70b") {
    std::fputs("usage: huge_checkpoint 7b|70b DIR BLOCKS WINDOWS LENGTH\n", stderr);
    return 2;
  }
  const Size s = size == "7b" ? Size{4096, 11008, 32, 32, 32} : Size{8192, 28672, 80, 64, 8};
  try {
    const std::filesystem::path dir = argv[2];
    std::filesystem::create_directories(dir);
    write_checkpoint(s, dir, std::stoull(argv[3]));
    write_windows(s, dir / "windows.json", std::stoull(argv[4]), std::stoull(argv[5]));
  } catch (const std::exception& e) {
    std::fprintf(stderr, "huge_checkpoint: %s\n", e.what());
    return 1;
  }
}
