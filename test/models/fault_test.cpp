// What can go wrong while a model is loaded and run: memory that runs out at any point, files that are cut short,
// tensors that are missing or different from what config.json promises.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/allocator.h"
#include "core/file.h"
#include "core/tensor_file.h"
#include "models/checkpoint.h"
#include "ops/concat.h"
#include "test/check.h"
#include "test/fail_at.h"
#include "test/shared_data.h"
#include "test/temp_dir.h"

using namespace sinter;
using namespace sinter::test;

namespace fs = std::filesystem;

namespace {

const std::vector<std::int32_t> kIds{3, 1, 4, 1, 5, 9, 2, 6};

// Loads, runs forward with a prompt that learns, and goes back: the loss and the prompt's gradient.
std::pair<Tensor, Tensor> load_and_learn(const fs::path& dir) {
  const auto model = load_model(dir);
  const Param prompt("prompt", model->embed(Context{}, std::span(kIds).first(2)).value().clone());
  Tape tape;
  const Context ctx{.tape = &tape};
  const Var e = concat_rows(std::array{ctx.use(prompt), model->embed(ctx, kIds)});
  const Layout layout = Layout::one(e.shape()[0]);
  const Var h = model->run(ctx, model->enter(ctx, e, layout), model->all(), layout);
  std::vector<std::int32_t> targets{-1, -1};
  targets.insert(targets.end(), kIds.begin() + 1, kIds.end());
  targets.push_back(-1);
  const Var loss = model->loss(ctx, h, targets);
  const Tensor value = loss.value().clone();
  const Grads grads = std::move(tape).backward(loss, Tensor::full({1}, 1, DType::f32));
  return {value, grads.find(prompt)->clone()};
}

// The message of the Error(input) that loading `dir` gives, "" when it loads.
std::string complaint(const fs::path& dir) {
  try {
    load_model(dir);
  } catch (const Error& e) {
    CHECK_MESSAGE(e.code() == ErrorCode::input, std::string(e.what()));
    CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos);
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

void put(const fs::path& file, std::string_view content) {
  fs::remove(file);
  std::ofstream(file, std::ios::binary) << content;
}

NamedTensors tensors_of(const fs::path& file) {
  const TensorFile f(file);
  NamedTensors all;
  for (const auto& name : f.names()) all.emplace_back(name, f.tensor(name).clone());
  return all;
}

// A copy of a golden model with its tensors in hand.
struct Copy {
  TempDir dir;
  NamedTensors tensors;
  explicit Copy(const std::string& name) : tensors(tensors_of(golden("models/" + name) / "model.safetensors")) {
    fs::copy_file(golden("models/" + name) / "config.json", dir / "config.json");
  }
  std::string file() const { return (dir / "model.safetensors").string(); }
  // Loading with tensor i replaced; without it for an empty one.
  std::string complaint_with(std::size_t i, const Tensor& other) const {
    NamedTensors changed = tensors;
    if (other) changed[i].second = other;
    else changed.erase(changed.begin() + std::ptrdiff_t(i));
    write_tensors(file(), changed);
    return complaint(dir.path());
  }
};

}  // namespace

TEST_CASE("Memory that runs out at any request is one error, leaks nothing, and a second try succeeds") {
  for (const std::string name : {"llama_gqa_tied", "llama_bf16_sharded", "opt_post_norm_proj"}) {
    CAPTURE(name);
    const fs::path dir = golden("models/" + name);
    const auto [loss, gradient] = load_and_learn(dir);
    std::size_t k = 0;
    for (bool done = false; !done; ++k) {
      FailAt allocator(k);
      {
        const ScopedAllocator scope(allocator);
        try {
          const auto [l, g] = load_and_learn(dir);
          done = true;
          CHECK(same_bits(l, loss));
          CHECK(same_bits(g, gradient));
        } catch (const Error& e) { CHECK_MESSAGE(e.code() == ErrorCode::out_of_memory, std::string(e.what())); }
      }
      REQUIRE(allocator.stats().live == 0);
    }
    CHECK(k > 50);  // requests of a load, a forward and a backward pass of two blocks
    const auto again = load_and_learn(dir);
    CHECK(same_bits(again.first, loss));
    CHECK(same_bits(again.second, gradient));
  }
}

TEST_CASE("A checkpoint cut short anywhere is refused with its name") {
  const fs::path from = golden("models/llama_mha_untied");
  const TempDir dir;
  fs::copy_file(from / "config.json", dir / "config.json");
  const std::string whole = read_text(from / "model.safetensors");
  std::uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | std::uint8_t(whole[std::size_t(i)]);
  std::vector<std::size_t> sizes{0, 1, 7, 8, 9, header + 7, header + 8, header + 9, whole.size() - 1};
  for (std::size_t n = 10; n < whole.size(); n += n < header ? 31 : 997) sizes.push_back(n);
  for (const std::size_t n : sizes) {
    CAPTURE(n);
    put(dir / "model.safetensors", std::string_view(whole).substr(0, n));
    CHECK(contains(complaint(dir.path()), "model.safetensors"));
  }
  put(dir / "model.safetensors", whole + "x");
  CHECK(contains(complaint(dir.path()), "model.safetensors"));
  put(dir / "model.safetensors", whole);
  CHECK(complaint(dir.path()) == "");
}

TEST_CASE("A shard, an index or a config.json that is missing, cut short or wrong is refused with its name") {
  const fs::path from = golden("models/llama_bf16_sharded");
  const TempDir dir;
  for (const auto& entry : fs::directory_iterator(from))
    fs::copy_file(entry.path(), dir / entry.path().filename().string());
  CHECK(complaint(dir.path()) == "");
  for (const std::string file : {"model-00002-of-00003.safetensors", "model.safetensors.index.json", "config.json"}) {
    CAPTURE(file);
    const std::string whole = read_text(dir / file);
    for (std::size_t n = 0; n + 2 < whole.size(); n += 1 + whole.size() / 60) {
      CAPTURE(n);
      put(dir / file, std::string_view(whole).substr(0, n));
      CHECK(contains(complaint(dir.path()), file));
    }
    fs::remove(dir / file);
    CHECK(contains(complaint(dir.path()), file));
    put(dir / file, whole);
  }
  Json index = read_json(dir / "model.safetensors.index.json");
  auto& map = index["weight_map"];
  const std::string norm = "model.norm.weight", home = map[norm];
  for (const std::string& other :
       {std::string("model-00009-of-00003.safetensors"), std::string("../x.safetensors"),
        std::string("model-0000") + (home[9] == '1' ? "2" : "1") + "-of-00003.safetensors"}) {
    CAPTURE(other);
    map[norm] = other;
    put(dir / "model.safetensors.index.json", json_text(index));
    const std::string message = complaint(dir.path());
    CAPTURE(message);
    CHECK(contains(message, other));
    CHECK(contains(message, other.starts_with("model-00009") ? "model-00009" : norm));
  }
  map.erase(norm);
  put(dir / "model.safetensors.index.json", json_text(index));
  CHECK(contains(complaint(dir.path()), norm));
}

TEST_CASE("A tensor that is missing, of another shape or of another type is refused with file, name and both facts") {
  for (const std::string name : {"llama_bias", "opt_post_norm_proj"}) {
    CAPTURE(name);
    const Copy copy(name);
    for (std::size_t i = 0; i < copy.tensors.size(); ++i) {
      const auto& [tensor, value] = copy.tensors[i];
      CAPTURE(tensor);
      const auto refused = [&](const Tensor& other, std::initializer_list<std::string_view> facts) {
        const std::string message = copy.complaint_with(i, other);
        CAPTURE(message);
        CHECK(contains(message, tensor));
        CHECK(contains(message, other ? copy.file() : copy.dir.path().string()));
        for (const auto fact : facts) CHECK(contains(message, fact));
      };
      const auto text = [](const Shape& s) {
        std::ostringstream out;
        out << s;
        return out.str();
      };
      refused({}, {"missing"});
      const std::int64_t first = value.shape()[0], rest = value.numel() / first;
      const bool matrix = value.shape().rank() == 2;
      const Shape longer = matrix ? Shape{first + 1, rest} : Shape{first + 1};
      refused(Tensor::zeros(longer, value.dtype()), {text(longer), text(value.shape())});
      refused(value.reshape(matrix ? Shape{first * rest} : Shape{1, first}), {});
      refused(Tensor::zeros(value.shape(), DType::i32), {"i32"});
    }
  }
}

TEST_CASE("A tied model needs no head, and an untied one says which tensor is missing") {
  const Copy copy("llama_mha_untied");
  for (std::size_t i = 0; i < copy.tensors.size(); ++i)
    if (copy.tensors[i].first == "lm_head.weight")
      CHECK(contains(copy.complaint_with(i, {}), "lm_head.weight is missing"));
  Json config = read_json(copy.dir / "config.json");
  config["tie_word_embeddings"] = true;
  put(copy.dir / "config.json", json_text(config));
  CHECK(complaint(copy.dir.path()) == "");
}
