#include "test/fuzz/interchange_targets.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "core/allocator.h"
#include "models/checkpoint.h"
#include "models/interchange/bin_tensor.h"
#include "models/interchange/gguf.h"
#include "models/packed.h"
#include "models/tensor_store.h"
#include "models/tokenizer.h"
#include "models/unicode.h"
#include "test/fuzz/refused.h"
#include "test/temp_dir.h"
#include "test/zip_writer.h"

namespace sinter::fuzz {
namespace {

namespace fs = std::filesystem;

// A file that is there for one input. Removed in between: some file systems sync a file that is written over.
class OneFile {
 public:
  OneFile(const fs::path& path, std::string_view content) : path_(path) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~OneFile() { fs::remove(path_); }
  OneFile(const OneFile&) = delete;
  OneFile& operator=(const OneFile&) = delete;

 private:
  fs::path path_;
};

const fs::path& directory() {
  static const test::TempDir dir;
  return dir.path();
}

// The first `count` files; the last one keeps what else there is.
std::vector<std::string_view> split(std::string_view input, std::size_t count) {
  std::vector<std::string_view> files;
  while (files.size() + 1 < count) {
    const std::size_t end = std::min(input.find(kNextFile), input.size());
    files.push_back(input.substr(0, end));
    input.remove_prefix(std::min(end + 1, input.size()));
  }
  files.push_back(input);
  return files;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// Tensors that f() makes stay in proportion to the file.
template <class F>
void in_proportion(std::size_t file_bytes, F&& f) {
  Allocator& memory = allocator_of({});
  memory.reset_peak();
  f();
  expect(memory.stats().largest <= 32 * file_bytes + 4096, "an allocation out of proportion");  // a bit becomes a float
}

void use_tokenizer(const fs::path& path) {
  const auto tokenizer = Tokenizer::load(path);
  const auto ids = tokenizer->encode("ab  Anna's caf\xc3\xa9 \xf0\x9f\x99\x82<s>\n12");
  for (const auto id : ids) expect(id >= 0 && id < tokenizer->size(), "an id beyond the vocabulary");
  expect(unicode::is_valid(tokenizer->decode(ids)), "decoded text is not UTF-8");
}

// Reads every byte of it.
void use(const Tensor& t) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < t.bytes(); ++i) sum += std::to_integer<unsigned>(t.raw()[i]);
  expect(sum <= 255 * t.bytes(), "a byte above 255: the data is not read");
}

void use(const Packed& p, const std::string& name) {
  const FrozenWeightPtr w = load_packed(p, name);
  const Tensor dense = w->dense(w->all());
  expect(dense.shape() == Shape{w->out_features(), w->in_features()}, "dense() has another shape");
}

void check_kinds(const PickleValue& root) {
  using Kind = PickleValue::Kind;
  std::set<const PickleValue*> seen{&root};
  std::vector<const PickleValue*> open{&root};
  while (!open.empty()) {
    const PickleValue& v = *open.back();
    open.pop_back();
    if (v.kind == Kind::dict) expect(v.items.size() % 2 == 0, "a key without value");
    if (v.kind == Kind::reference) expect(v.items.size() == 1, "a reference to more than one");
    if (v.kind == Kind::call)
      expect((v.items.size() == 2 || v.items.size() == 3) && v.items[0]->kind == Kind::global &&
                 v.items[1]->kind == Kind::tuple,
             "a call of another form");
    if (v.kind == Kind::global)
      expect(std::ranges::find(torch_globals(), v.text) != torch_globals().end(), "a global that is not allowed");
    for (const PickleValue* item : v.items)
      if (seen.insert(item).second) open.push_back(item);
  }
}

}  // namespace

Outcome load_zip(std::string_view input) {
  return loaded_or_refused([&] {
    const ZipArchive zip(bytes_of(input), "input");
    std::size_t total = 0;
    for (const auto& m : zip.members()) {
      expect(!m.name.empty() && m.name[0] != '/' && m.name.find("..") == m.name.npos, "a name that leads astray");
      const auto* data = reinterpret_cast<const char*>(m.data.data());
      expect(data >= input.data() && data + m.data.size() <= input.data() + input.size(), "a member outside");
      expect(zip.find(m.name) == &m, "a member is not found by its name");
      total += m.data.size();
    }
    expect(total <= input.size(), "members that overlap");
  });
}

Outcome load_pickle(std::string_view input) {
  return loaded_or_refused([&] {
    check_kinds(Pickle(bytes_of(input), torch_globals(), "input").root());
    const std::string storage(32, '\0');
    const fs::path path = directory() / "x.bin";
    const OneFile file(
        path, test::zip_file({{"r/data/0", storage}, {"r/data/1", storage}, {"r/data.pkl", std::string(input)}}));
    const auto store = open_bin(path);
    for (const auto& name : store->names()) in_proportion(64, [&] { use(store->tensor(name)); });
  });
}

Outcome load_vocabulary(std::string_view input) {
  const auto files = split(input, 5);
  const OneFile vocabulary(directory() / "vocab.json", files[0]), merges(directory() / "merges.txt", files[1]),
      config(directory() / "tokenizer_config.json", files[2]), map(directory() / "special_tokens_map.json", files[3]),
      added(directory() / "added_tokens.json", files[4]);
  return loaded_or_refused([&] { use_tokenizer(directory()); });
}

Outcome load_foreign(std::string_view input) {
  const auto files = split(input, 3);
  std::string model;
  test::put(model, files[1].size(), 8);
  const OneFile config(directory() / "config.json", files[0]),
      weights(directory() / "model.safetensors", model.append(files[1]).append(files[2]));
  return loaded_or_refused([&] {
    in_proportion(input.size(), [&] {
      const Checkpoint checkpoint(directory());
      const auto packed = checkpoint.packed("l");
      require(packed.has_value(), ErrorCode::input, "input", "holds no linear");
      use(*packed, "l");
    });
  });
}

Outcome load_gguf(std::string_view input) {
  const fs::path path = directory() / "x.gguf";
  const OneFile file(path, input);
  return loaded_or_refused([&] {
    read_config(path);
    in_proportion(input.size(), [&] {
      const auto store = open_gguf(path);
      constexpr std::string_view kCodes = ".codes";
      for (const auto& name : store->names()) {
        use(store->tensor(name));
        if (!name.ends_with(kCodes)) continue;
        const std::string linear = name.substr(0, name.size() - kCodes.size());
        if (const auto packed = store->packed(linear)) use(*packed, linear);
      }
    });
    use_tokenizer(path);
  });
}

}  // namespace sinter::fuzz
