#include "models/interchange/gguf_header.h"

#include "models/interchange/gguf_layout.h"

namespace sinter {
namespace {

constexpr std::uint32_t kVersion = 3;

template <class T>
void put(std::string& to, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}
void put_text(std::string& to, std::string_view text) {
  put(to, std::uint64_t(text.size()));
  to += text;
}

}  // namespace

void GgufHeader::key(std::string_view name, GgufKind kind) {
  put_text(keys_, name);
  put(keys_, std::uint32_t(kind));
  ++key_count_;
}

void GgufHeader::array(std::string_view name, GgufKind kind, std::size_t count) {
  key(name, GgufKind::array);
  put(keys_, std::uint32_t(kind));
  put(keys_, std::uint64_t(count));
}

void GgufHeader::integer(std::string_view name, std::int64_t value) {
  key(name, GgufKind::u32);
  put(keys_, std::uint32_t(value));
}
void GgufHeader::real(std::string_view name, double value) {
  key(name, GgufKind::f32);
  put(keys_, float(value));
}
void GgufHeader::boolean(std::string_view name, bool value) {
  key(name, GgufKind::boolean);
  put(keys_, std::uint8_t(value));
}
void GgufHeader::text(std::string_view name, std::string_view value) {
  key(name, GgufKind::text);
  put_text(keys_, value);
}
void GgufHeader::texts(std::string_view name, std::span<const std::string> values) {
  array(name, GgufKind::text, values.size());
  for (const auto& v : values) put_text(keys_, v);
}
void GgufHeader::integers(std::string_view name, std::span<const std::int32_t> values) {
  array(name, GgufKind::i32, values.size());
  for (const auto v : values) put(keys_, v);
}
void GgufHeader::reals(std::string_view name, std::span<const float> values) {
  array(name, GgufKind::f32, values.size());
  for (const auto v : values) put(keys_, v);
}

void GgufHeader::vocabulary(const GgufVocabulary& v) {
  const auto named = [](const char* rest) { return std::string("tokenizer.ggml.") + rest; };
  const auto id = [&](const char* name, std::optional<int> value) {
    if (value) integer(named(name) + "_token_id", *value);
  };
  text(named("model"), v.model);
  text(named("pre"), v.pre);
  texts(named("tokens"), v.tokens);
  std::vector<std::int32_t> types;
  for (const PieceType t : v.types) types.push_back(std::int32_t(t));
  integers(named("token_type"), types);
  if (v.model == "llama") reals(named("scores"), v.scores);
  else texts(named("merges"), v.merges);
  id("bos", v.bos);
  id("eos", v.eos);
  id("unknown", v.unknown);
  id("padding", v.pad);
  boolean(named("add_bos_token"), v.add_bos);
  boolean(named("add_eos_token"), v.add_eos);
  boolean(named("add_space_prefix"), v.add_space_prefix);
  if (!v.chat_template.empty()) text("tokenizer.chat_template", v.chat_template);
}

std::uint64_t GgufHeader::bytes_of(const GgmlType& type, const Shape& shape) {
  return std::uint64_t(shape.numel() / type.block * type.bytes);
}

void GgufHeader::tensor(std::string_view name, const GgmlType& type, const Shape& shape) {
  put_text(tensors_, name);
  put(tensors_, std::uint32_t(shape.rank()));
  for (int d = shape.rank() - 1; d >= 0; --d) put(tensors_, std::uint64_t(shape[d]));
  put(tensors_, type.id);
  put(tensors_, data_);
  data_ = aligned(data_ + bytes_of(type, shape), std::uint64_t(kGgufAlignment));
  ++tensor_count_;
}

std::string GgufHeader::bytes() const {
  std::string out(kGgufMagic);
  put(out, kVersion);
  put(out, tensor_count_);
  put(out, key_count_);
  out += keys_;
  out += tensors_;
  out.resize(aligned(out.size(), std::uint64_t(kGgufAlignment)));
  return out;
}

}  // namespace sinter
