#include "models/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"

// tokenizer.json of the tokenizers library, byte pair models; and the older pair vocab.json + merges.txt.
namespace sinter {
namespace {

std::pair<std::string, std::string> cut_merge(const std::string& at, std::string_view line) {
  const std::size_t space = line.find(' ');
  require(space != line.npos && line.find(' ', space + 1) == line.npos, ErrorCode::input, at, "'", line,
          "' is not two tokens with a space between them");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

void read_merges(const std::string& where, const Json& merges, BpeModel& model) {
  require(merges.is_array(), ErrorCode::input, where, "expected a list");
  std::size_t rank = 0;
  for (const Json& merge : merges) {
    const std::string at = where + "[" + std::to_string(rank) + "]";
    if (merge.is_string()) {
      const auto [left, right] = cut_merge(at, merge.get_ref<const std::string&>());
      add_merge(at, rank, left, right, model);
    } else {
      const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
      require(pair, ErrorCode::input, at, "expected a text or a pair of texts");
      add_merge(at, rank, merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), model);
    }
    ++rank;
  }
}

void find_byte_tokens(BpeModel& model) {
  model.byte_ids.assign(256, -1);
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = model.ids.find(piece_of_byte(static_cast<unsigned char>(byte)));
    if (found != model.ids.end()) model.byte_ids[static_cast<std::size_t>(byte)] = found->second;
  }
}

void read_model(const std::string& where, const JsonFields& fields, TokenizerParts& parts) {
  BpeModel& model = parts.model;
  if (fields.text_or("type", "BPE") != "BPE") fields.refuse("type", "\"BPE\"");
  if (fields.number_or("dropout", 0) != 0) fields.refuse("dropout", "null or 0: ids must not be random");
  read_vocabulary(where + ": model.vocab", fields.at("vocab"), parts);
  model.word_prefix = fields.text_or("continuing_subword_prefix", "");
  model.word_suffix = fields.text_or("end_of_word_suffix", "");
  model.fuse_unknown = fields.boolean_or("fuse_unk", false);
  model.whole_words = fields.boolean_or("ignore_merges", false);
  if (fields.boolean_or("byte_fallback", false)) find_byte_tokens(model);
  if (fields.has("unk_token")) {
    const auto unknown = model.ids.find(fields.text("unk_token"));
    if (unknown == model.ids.end()) fields.refuse("unk_token", "a token of the vocabulary");
    model.unknown = unknown->second;
  }
  read_merges(where + ": model.merges", fields.at("merges"), model);
}

void read_added(const std::string& where, const Json& list, TokenizerParts& parts) {
  require(list.is_array(), ErrorCode::input, where, "expected a list");
  std::size_t index = 0;
  for (const Json& entry : list) {
    const std::string at = where + "[" + std::to_string(index++) + "]";
    const JsonFields fields(at, entry);
    AddedToken token;
    token.id = static_cast<std::int32_t>(fields.integer("id", 0, INT32_MAX));
    token.content = fields.text("content");
    token.single_word = fields.boolean_or("single_word", false);
    token.lstrip = fields.boolean_or("lstrip", false);
    token.rstrip = fields.boolean_or("rstrip", false);
    token.special = fields.boolean_or("special", false);
    token.normalized = fields.boolean_or("normalized", !token.special);
    // The model's own id wins over the one written here, as in the tokenizers library.
    if (const auto own = parts.model.ids.find(token.content); own != parts.model.ids.end()) token.id = own->second;
    parts.add_token(token, at);
  }
}

// Without a tokenizer_config.json the special tokens have to be guessed from what surrounds a text, or by name.
void guess_special(TokenizerParts& parts) {
  const auto named = [&](const char* name) -> std::optional<int> {
    const auto found = parts.added_ids.find(std::string_view(name));
    if (found == parts.added_ids.end()) return std::nullopt;
    return found->second;
  };
  parts.bos = parts.before.empty() ? named("<s>") : std::optional<int>(parts.before.front());
  parts.eos = parts.after.empty() ? named("</s>") : std::optional<int>(parts.after.back());
  parts.pad = named("<pad>");
}

}  // namespace

void read_vocabulary(const std::string& where, const Json& vocab, TokenizerParts& parts) {
  require(vocab.is_object(), ErrorCode::input, where, "expected an object of tokens and ids");
  parts.model.ids.reserve(vocab.size());
  for (const auto& [token, id] : vocab.get_ref<const Json::object_t&>()) {
    require(id.is_number_integer(), ErrorCode::input, where, "token '", token, "': expected an id");
    if (token.empty()) continue;
    parts.set_piece(id.get<std::int64_t>(), token, where);
    parts.model.ids.emplace(token, id.get<std::int32_t>());
  }
}

void add_merge(const std::string& where, std::size_t rank, std::string_view left, std::string_view right,
               BpeModel& model) {
  const auto id_of = [&](std::string_view token) {
    const auto found = model.ids.find(token);
    require(found != model.ids.end(), ErrorCode::input, where, "token '", token, "' is not in the vocabulary");
    return found->second;
  };
  require(right.size() >= model.word_prefix.size(), ErrorCode::input, where, "token '", right, "' lacks the prefix '",
          model.word_prefix, "'");
  const std::int32_t left_id = id_of(left), right_id = id_of(right);
  std::string merged(left);
  merged += right.substr(model.word_prefix.size());
  model.merges.add(left_id, right_id, static_cast<std::uint32_t>(rank), id_of(merged));
}

TokenizerParts parse_tokenizer_json(const Json& json, const std::string& where) {
  const JsonFields fields(where, json);
  if (fields.text_or("version", "1.0") != "1.0") fields.refuse("version", "\"1.0\"");
  TokenizerParts parts;
  read_model(where, fields.object("model"), parts);
  if (const Json* section = fields.find("normalizer")) {
    read_normalizer(where + ": normalizer", *section, parts.normalizers);
  }
  if (const Json* section = fields.find("added_tokens")) read_added(where + ": added_tokens", *section, parts);
  if (const Json* section = fields.find("pre_tokenizer")) {
    read_pre_tokenizer(where + ": pre_tokenizer", *section, parts.splitters);
  }
  if (const Json* section = fields.find("post_processor")) {
    read_post_processor(where + ": post_processor", *section, parts);
  }
  if (const Json* section = fields.find("decoder")) {
    bool fused = false;
    read_decoder(where + ": decoder", *section, fused, parts.decoders);
  } else {
    parts.decoders.push_back(decode_joined_by_spaces());
  }
  parts.model.prepare();
  guess_special(parts);
  return parts;
}

TokenizerParts read_vocab_and_merges(const std::filesystem::path& vocab, const std::filesystem::path& merges,
                                     const TokenizerConfig& config) {
  TokenizerParts parts;
  read_vocabulary(vocab.string(), read_json(vocab), parts);
  std::size_t rank = 0, line_number = 0;
  const std::string text = read_text(merges);
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++line_number;
    if (line.empty() || line.starts_with("#version")) continue;
    const std::string at = merges.string() + ": line " + std::to_string(line_number);
    const auto [left, right] = cut_merge(at, line);
    add_merge(at, rank++, left, right, parts.model);
  }
  parts.model.prepare();
  parts.splitters.push_back(byte_level(config.add_prefix_space.value_or(false), true));
  parts.decoders.push_back(decode_byte_level());

  // OPT's <s> </s> <pad> where the directory does not say, else GPT-2's only special token.
  const bool opt = parts.model.ids.contains("</s>");
  parts.bos = parts.eos = parts.unk = parts.find(opt ? "</s>" : "<|endoftext|>");
  if (opt) parts.pad = parts.find("<pad>");
  parts.model.unknown = config.unk ? parts.find(*config.unk) : parts.unk;
  parts.add_bos = opt;
  parts.add_eos = false;
  return parts;
}

}  // namespace sinter
