#include "models/protobuf.h"
#include "test/fuzz/model_targets.h"

// Sound samples that mutations start from, and the words that they are spliced with.
namespace sinter::fuzz {
namespace {

std::string sentencepiece_sample(bool byte_fallback) {
  struct Piece {
    std::string text;
    float score;
    int type;
  };
  std::vector<Piece> pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}};
  if (byte_fallback)
    for (int byte = 0; byte < 256; ++byte) {
      constexpr const char* kHex = "0123456789ABCDEF";
      pieces.push_back({std::string("<0x") + kHex[byte / 16] + kHex[byte % 16] + ">", 0, 6});
    }
  for (const char* text : {"\xe2\x96\x81", "a", "b", "n", "A", "s", "1"}) pieces.push_back({text, -9, 1});
  pieces.insert(pieces.end(), {{"ab", -1, 1},
                               {"an", -2, 1},
                               {"\xe2\x96\x81"
                                "A",
                                -3, 1},
                               {"\xe2\x96\x81"
                                "An",
                                -4, 1},
                               {"<x>", 0, 4},
                               {"na", -5, 5}});
  ProtoWriter out;
  for (const Piece& piece : pieces) {
    ProtoWriter one;
    one.bytes(1, piece.text);
    one.real(2, piece.score);
    one.integer(3, piece.type);
    out.bytes(1, one.message());
  }
  ProtoWriter trainer;
  trainer.integer(3, 2);
  trainer.integer(35, byte_fallback);
  out.bytes(2, trainer.message());
  ProtoWriter normalizer;
  normalizer.integer(3, 1);
  normalizer.integer(4, 0);
  normalizer.integer(5, 1);
  out.bytes(3, normalizer.message());
  return out.message();
}

constexpr const char* kByteFallbackJson =
    R"({"version":"1.0","added_tokens":[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":true,)"
    R"("normalized":false,"special":true},{"id":9,"content":"Anna","normalized":true,"special":false}],)"
    R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"NFKC"},)"
    R"({"type":"Replace","pattern":{"String":" "},"content":"▁"}]},"pre_tokenizer":null,)"
    R"("post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},)"
    R"({"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},)"
    R"("decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},)"
    R"({"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},)"
    R"("model":{"type":"BPE","dropout":null,"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,)"
    R"("vocab":{"<unk>":0,"<s>":1,"a":2,"b":3,"▁":4,"ab":5,"▁ab":6,"<0x0A>":7,"n":8},)"
    R"("merges":["a b",["▁","ab"]]}})";
constexpr const char* kByteLevelJson =
    R"({"version":"1.0","added_tokens":[{"id":6,"content":"<s>","special":true}],"normalizer":null,)"
    R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{L}+|\\s+(?!\\S)|\\p{N}{1,3}"},)"
    R"("behavior":"Isolated","invert":false},{"type":"Digits","individual_digits":true},)"
    R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},)"
    R"("post_processor":{"type":"ByteLevel","trim_offsets":false},"decoder":{"type":"ByteLevel"},)"
    R"("model":{"type":"BPE","ignore_merges":true,"continuing_subword_prefix":"","end_of_word_suffix":"",)"
    R"("vocab":{"a":0,"b":1,"Ġ":2,"ab":3,"Ġa":4,"Ċ":5},"merges":["a b","Ġ a"]}})";

}  // namespace

Suite config_suite() {
  return {
      "config",
      {R"({"model_type":"llama","vocab_size":128256,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,)"
       R"("num_attention_heads":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":500000.0,)"
       R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
       R"("original_max_position_embeddings":8192},"max_position_embeddings":131072,"eos_token_id":[128001,128009],)"
       R"("tie_word_embeddings":false,"hidden_act":"silu","torch_dtype":"bfloat16"})",
       R"({"model_type":"llama","hidden_size":64,"head_dim":32,"num_attention_heads":4,"num_key_value_heads":2,)"
       R"("rope_parameters":{"rope_type":"linear","rope_theta":10000,"factor":4},"attention_bias":true,"pad_token_id":null})",
       R"({"model_type":"opt","vocab_size":50272,"hidden_size":1024,"ffn_dim":4096,"num_hidden_layers":24,)"
       R"("num_attention_heads":16,"word_embed_proj_dim":512,"do_layer_norm_before":false,"activation_function":"relu",)"
       R"("_remove_final_layer_norm":true,"enable_bias":true,"bos_token_id":2,"eos_token_id":2})"},
      {"null",       "{}",       "[]",          "\"llama\"",   "\"opt\"",         "\"linear\"",
       "\"llama3\"", "\"yarn\"", "\"dynamic\"", "1e-300",      "1e300",           "-1",
       "0.0",        "1e999",    "true",        "\"factor\":", "\"rope_theta\":", "\"head_dim\":",
       "\"type\":",  "1048576",  "[[[[[[[["},
      false,
      load_config,
      std::size_t{4} << 20};  // the frequencies of a head of 2^20 columns
}

Suite sentencepiece_suite() {
  using namespace std::string_literals;
  return {
      "tokenizer.model",
      {sentencepiece_sample(false), sentencepiece_sample(true)},
      {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\x80\x80\x80\x08", "\x0a\x00"s, "\x15\x00\x00\xc0\x7f"s,
       "\x18\x06", "\x18\x05", "\x18\x02", "<0x0A>", "\xe2\x96\x81", "\xff", "\x1a\x02\x20\x00"s, "\x12\x02\x18\x01"},
      false,
      load_sentencepiece,
      std::size_t{1} << 20};
}

Suite tokenizer_json_suite() {
  return {"tokenizer.json",
          {kByteFallbackJson, kByteLevelJson},
          {"null",
           "{}",
           "[]",
           "true",
           "\"type\":\"Sequence\",",
           "\"type\":\"ByteLevel\"",
           "\"Regex\":",
           "\"String\":",
           "(a*)*$",
           "(?<=",
           "\\\\p{",
           "[^",
           "\"\"",
           "\\u0000",
           "\\ud800",
           "\"<unk>\"",
           "\"a\":1,",
           "1048575",
           "\"Metaspace\"",
           "\"Lowercase\"",
           "\"MergedWithNext\"",
           "{1,99999}"},
          false,
          load_tokenizer_json,
          std::size_t{64} << 20};  // a table of 2^20 names, for an id just below that bound
}

}  // namespace sinter::fuzz
