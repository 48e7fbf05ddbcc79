// Sound samples of what other programs write, and the words that mutations splice into them.
#include <array>

#include "core/file.h"
#include "core/half.h"
#include "models/interchange/compressed_tensors.h"
#include "models/interchange/gguf_header.h"
#include "models/interchange/gguf_layout.h"
#include "models/interchange/gptq.h"
#include "test/fuzz/interchange_targets.h"
#include "test/temp_dir.h"
#include "test/torch_pickle.h"

namespace sinter::fuzz {
namespace {

using namespace std::string_literals;

const std::string kOnes(8, '\xff');

std::string joined(std::initializer_list<std::string> files) {
  std::string all;
  for (const auto& f : files) all += (&f == files.begin() ? "" : std::string(1, kNextFile)) + f;
  return all;
}

Tensor bytes(Shape shape, unsigned below) {
  Tensor t = Tensor::empty(shape, DType::u8);
  const auto x = t.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::uint8_t(i * 7 % below);
  return t;
}

GridLinear grid(int bits, std::int64_t out, std::int64_t in, std::int64_t group, bool order) {
  GridLinear w{bits, group, bytes({out, in}, 1u << bits), {}, bytes({out, (in + group - 1) / group}, 1u << bits), {}};
  w.scale = Tensor::full(w.zero.shape(), 0.5, DType::f16);
  if (order)
    for (std::int64_t j = 0; j < in; ++j) w.group_of.push_back(std::int32_t((in - 1 - j) / group));
  return w;
}

// config.json, header and data of a model.safetensors with these tensors.
std::string foreign_sample(const std::string& config, const NamedTensors& tensors) {
  const test::TempDir dir;
  write_tensors(dir / "s", tensors);
  const std::string file = read_text(dir / "s");
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  return joined({R"({"model_type":"llama","quantization_config":)" + config + "}", file.substr(8, header),
                 file.substr(8 + header)});
}

std::string gptq_sample(int bits, bool order, const std::string& more) {
  return foreign_sample(R"({"quant_method":"gptq","bits":4,"group_size":16,"sym":false,"desc_act":true)" + more + "}",
                        gptq_tensors("l", grid(bits, 32, 32, 16, order), 1));
}

std::string awq_sample() {
  Tensor codes = Tensor::zeros({16, 1}, DType::i32), zeros = Tensor::zeros({2, 1}, DType::i32);
  for (std::int32_t i = 0; auto& w : codes.mutable_data<std::int32_t>()) w = 0x01234567 * ++i;
  return foreign_sample(R"({"quant_method":"awq","bits":4,"group_size":8,"version":"gemm","zero_point":true})",
                        {{"l.qweight", codes}, {"l.qzeros", zeros}, {"l.scales", Tensor::full({2, 8}, 1, DType::f16)}});
}

std::string compressed_sample(int bits, std::int64_t columns, bool order) {
  return foreign_sample(R"({"quant_method":"compressed-tensors","format":"pack-quantized","version":"0.17.0",)"
                        R"("config_groups":{"group_0":{"targets":["Linear","re:.*l"],"weights":{"num_bits":)" +
                            std::to_string(bits) + R"(,"strategy":"group","group_size":8,"type":"int"}}}})",
                        compressed_tensors("l", grid(bits, 4, columns, 8, order)));
}

std::string int8_sample() {
  return foreign_sample(
      R"({"quant_method":"compressed-tensors","format":"int-quantized",)"
      R"("config_groups":{"a":{"targets":["Linear"],"weights":{"num_bits":8,"strategy":"channel"}}}})",
      {{"l.weight", Tensor::of<std::int8_t>({2, 3}, std::array<std::int8_t, 6>{1, -2, 3, 0, 5, -6})},
       {"l.weight_scale", Tensor::full({2, 1}, 0.25, DType::f32)}});
}

std::string sparse_sample() {
  return foreign_sample(R"({"quant_method":"compressed-tensors","format":"dense",)"
                        R"("sparsity_config":{"format":"sparse-bitmask"}})",
                        {{"l.compressed", Tensor::full({5}, 2, DType::bf16)},
                         {"l.bitmask", Tensor::of<std::uint8_t>({2, 2}, std::array<std::uint8_t, 4>{5, 1, 128, 2})},
                         {"l.shape", Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{2, 10})},
                         {"l.row_offsets", Tensor::of<std::int64_t>({2}, std::array<std::int64_t, 2>{0, 3})}});
}

GgufVocabulary sentencepiece_vocabulary() {
  GgufVocabulary v;
  v.model = "llama", v.pre = "default";
  const auto add = [&](const std::string& token, PieceType type, float score) {
    v.tokens.push_back(token), v.types.push_back(type), v.scores.push_back(score);
  };
  add("<unk>", PieceType::unknown, 0), add("<s>", PieceType::control, 0), add("</s>", PieceType::control, 0);
  for (const char* piece : {"<0x0A>", "<0x41>"}) add(piece, PieceType::byte, 0);
  for (const char* piece : {"\xe2\x96\x81", "a", "b", "ab"}) add(piece, PieceType::normal, -float(v.tokens.size()));
  v.bos = 1, v.eos = 2, v.unknown = 0, v.add_bos = true, v.add_space_prefix = true;
  return v;
}

GgufVocabulary byte_level_vocabulary() {
  GgufVocabulary v;
  v.model = "gpt2", v.pre = "llama-bpe";
  v.tokens = {"a", "b", "\xc4\xa0", "ab", "<s>"};
  v.types = {PieceType::normal, PieceType::normal, PieceType::normal, PieceType::normal, PieceType::control};
  v.merges = {"a b"};
  v.bos = 4;
  return v;
}

struct GgufPart {
  std::string_view name, type;
  Shape shape;
};

std::string gguf_sample(const GgufVocabulary& vocabulary, std::initializer_list<GgufPart> parts) {
  GgufHeader h;
  h.text("general.architecture", "llama");
  h.integer("general.alignment", 32);
  const std::pair<const char*, int> integers[] = {{"context_length", 64},      {"embedding_length", 32},
                                                  {"block_count", 1},          {"feed_forward_length", 256},
                                                  {"attention.head_count", 4}, {"attention.head_count_kv", 2},
                                                  {"rope.dimension_count", 8}, {"vocab_size", 9}};
  for (const auto& [key, value] : integers) h.integer("llama."s + key, value);
  h.real("llama.attention.layer_norm_rms_epsilon", 1e-5);
  h.real("llama.rope.freq_base", 10000);
  h.vocabulary(vocabulary);
  std::string data;
  for (const auto& [name, type, shape] : parts) {
    h.tensor(name, ggml_type(type), shape);
    data.resize(aligned(data.size(), 32), '\0');
    data += std::string(GgufHeader::bytes_of(ggml_type(type), shape), '\x11');
  }
  data.resize(aligned(data.size(), 32), '\0');
  return h.bytes() + data;
}

const std::string kModule =
    "\x80\2"
    "ctorch.nn.modules.sparse\nEmbedding\nq\0)\x81q\1}q\2(X\13\0\0\0_parametersq\3}q\4X\6\0\0\0weightq\5"s +
    test::kParameter + test::pickled_tensor(8, 0, {2, 4}, {4, 1}) +
    "\x88"
    "ccollections\nOrderedDict\nq\6)R\x87Rsc__builtin__\nset\n]\x85RK\1ub."s;

}  // namespace

Suite zip_suite() {
  const std::vector<test::ZipMember> members{{"r/data.pkl", "pickle"}, {"r/data/0", "01234567"}, {"r/version", "3"}};
  return {"zip",
          {test::zip_file(members), test::zip_file(members, true)},
          {"PK\1\2", "PK\3\4", "PK\5\6", "PK\6\6", "PK\6\7", kOnes, kOnes.substr(4), "\0\0\0\0"s, "\1\0\x18\0"s,
           "\x08\0"s, "..", "/", "\1", "\x2e\0\0\0"s, "\0\0\0\0\0\0\0\x80"s},
          false,
          load_zip};
}

Suite pickle_suite() {
  const std::string plain = test::pickled_tensor(8, 1, {2, 3}, {3, 1}),
                    turned = test::pickled_tensor(8, 0, {4, 2}, {1, 4}, "ctorch\nHalfStorage\n", "1");
  const auto entry = [](const std::string& name, const std::string& value) { return test::pickled(name) + value; };
  return {"pickle",
          {"\x80\2"
           "ccollections\nOrderedDict\n)R(" +
               entry("w", plain) + entry("t", turned) + entry("p", test::kParameter + plain + "\x88N\x87R") +
               entry("n", "K\3") + "u.",
           "\x80\2}(" + entry("epoch", "M\1\2") + entry("state_dict", "}q\0("s + entry("w", plain) + "u}b") + "u.",
           kModule},
          {"(",
           "t",
           "u",
           "R",
           "b",
           ".",
           "}",
           "]",
           "q\0"s,
           "h\0"s,
           "h\1",
           "r\xff\xff\xff\xff",
           "\x94",
           "N",
           "K\0"s,
           "0",
           "Q",
           "\x81",
           "\x8a\x08" + kOnes,
           "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
           "X\xff\xff\xff\xff",
           "\x93",
           "\x85\x85",
           "cos\nsystem\n",
           "ctorch\nBoolStorage\n",
           "ctorch._tensor\n_rebuild_from_type_v2\n",
           test::kParameter},
          false,
          load_pickle,
          std::size_t{1} << 16};
}

Suite vocabulary_suite() {
  return {
      "vocab.json",
      {joined({R"({"<pad>":1,"</s>":2,"<unk>":3,"a":4,"b":5,"Ġ":6,"ab":7,"Ġa":8,"n":9,"A":10})",
               "#version: 0.2\na b\nĠ a\n",
               R"({"bos_token":"</s>","eos_token":{"content":"</s>"},"unk_token":"<unk>",)"
               R"("add_bos_token":true,"added_tokens_decoder":{"11":{"content":"<x>","lstrip":true,"special":true}}})",
               R"({"pad_token":"<pad>","additional_special_tokens":["<x>"]})", R"({"<y>":12})"})},
      {"null", "{}", "[]", "true", "\"a\":1,", "\"a\":0,", "a b\n", "\n\n", " ", "\"\"", "\\u0000", "\\ud800",
       "1048575", "-1", "\"</s>\"", "\"content\":", std::string(1, kNextFile)},
      false,
      load_vocabulary,
      std::size_t{64} << 20};  // a table of 2^20 names, for an id just below that bound
}

Suite foreign_suite() {
  return {"foreign",
          {gptq_sample(4, true, ""), gptq_sample(2, false, R"(,"dynamic":{"+:l":{"bits":2},"-:m":{}})"),
           gptq_sample(3, true, R"(,"dynamic":{"l":{"bits":3}})"), awq_sample(), compressed_sample(4, 12, false),
           compressed_sample(3, 20, true), compressed_sample(8, 8, false), int8_sample(), sparse_sample()},
          {"null",
           "{}",
           "[]",
           "[32,32]",
           "[4,32]",
           "[2]",
           "\"U8\"",
           "\"I32\"",
           "\"I64\"",
           "\"F32\"",
           "\"BF16\"",
           "\"gptq\"",
           "\"awq\"",
           "\"compressed-tensors\"",
           "\"gptq_v2\"",
           "\"bits\":",
           "\"group_size\":-1",
           "\"num_bits\":",
           "\"strategy\":\"tensor\"",
           "\"strategy\":\"channel\"",
           "\"re:",
           "(a*)*$",
           "\"version\":\"0.16\"",
           "l.qzeros",
           "l.g_idx",
           "l.weight_packed",
           "l.weight_shape",
           "l.weight_scale",
           "l.bitmask",
           "9223372036854775807",
           kOnes,
           "\0\0\0\0"s,
           "\xff\x7f"},
          false,
          load_foreign,
          std::size_t{1} << 20};
}

Suite gguf_suite() {
  return {"gguf",
          {gguf_sample(sentencepiece_vocabulary(), {{"token_embd.weight", "F32", {9, 32}},
                                                    {"blk.0.attn_q.weight", "Q4_0", {32, 32}},
                                                    {"blk.0.attn_norm.weight", "F32", {32}},
                                                    {"output.weight", "F16", {9, 32}}}),
           gguf_sample(byte_level_vocabulary(), {{"token_embd.weight", "BF16", {5, 32}},
                                                 {"blk.0.attn_k.weight", "Q8_0", {16, 32}},
                                                 {"blk.0.ffn_down.weight", "Q6_K", {2, 256}}})},
          {kOnes,
           kOnes.substr(4),
           "\0\0\0\0\0\0\0\0"s,
           "\1\0\0\0\0\0\0\0"s,
           "\2\0\0\0"s,
           "\4\0\0\0"s,
           "\x08\0\0\0"s,
           "\x09\0\0\0"s,
           "\x0c\0\0\0"s,
           "\x0e\0\0\0"s,
           "\0\0\0\0\0\0\0\x80"s,
           "\0\0\0\0\1\0\0\0"s,
           "\0\0\xc0\x7f"s,
           "llama-bpe",
           "gpt2",
           "llama",
           "llama.rope.scaling.type",
           "rope_freqs.weight",
           "blk.1.attn_v.weight",
           "output_norm.weight",
           "GGUF\2\0\0\0"s},
          false,
          load_gguf,
          std::size_t{64} << 20};
}

}  // namespace sinter::fuzz
