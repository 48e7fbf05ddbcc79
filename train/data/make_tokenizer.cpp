#include "train/data/make_tokenizer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "models/protobuf.h"
#include "models/tokenizer_decode.h"
#include "models/unicode.h"

namespace sinter {
namespace {

constexpr std::size_t kLongestWord = 64;  // characters; longer ones are cut, so that one merge costs O(1) per word
constexpr std::size_t kLongestPiece = 16;  // characters, as SentencePiece has it
constexpr std::int64_t kRarestPair = 2;

using Symbol = std::int32_t;
using Pair = std::pair<Symbol, Symbol>;

struct PairHash {
  std::size_t operator()(Pair p) const {
    return std::hash<std::uint64_t>()(static_cast<std::uint64_t>(p.first) << 32 | static_cast<std::uint32_t>(p.second));
  }
};

struct Word {
  std::vector<Symbol> symbols;
  std::int64_t count = 0;
};

// Cuts text where no piece may reach across: before a space, around digits and around other white space.
std::map<std::string, std::int64_t> count_words(const std::string& text) {
  std::map<std::string, std::int64_t> words;
  std::string word(unicode::kMetaspace);  // the text itself begins with a space
  std::size_t length = 1;
  const auto end_word = [&] {
    if (!word.empty()) ++words[word];
    word.clear();
    length = 0;
  };
  for (std::size_t at = 0, size = 0; at < text.size(); at += size) {
    size = unicode::length_at(text, at);
    const char c = text[at];
    const bool space = c == ' ', digit = c >= '0' && c <= '9';
    const bool other_space = !space && unicode::is_space(unicode::decode(std::string_view(text).substr(at)));
    if (space || digit || other_space || length == kLongestWord) end_word();
    if (other_space) continue;  // stays a byte
    word += space ? unicode::kMetaspace : std::string_view(text).substr(at, size);
    ++length;
    if (digit) end_word();
  }
  end_word();
  return words;
}

// The characters worth a piece: the space, then the most frequent ones, at most half of the room.
std::vector<std::string> choose_characters(const std::map<std::string, std::int64_t>& words, std::size_t room) {
  std::map<std::string, std::int64_t> counts;
  for (const auto& [word, count] : words) {
    for (std::size_t at = 0; at < word.size(); at += unicode::length_at(word, at)) {
      counts[word.substr(at, unicode::length_at(word, at))] += count;
    }
  }
  counts.erase(std::string(unicode::kMetaspace));
  std::vector<std::pair<std::string, std::int64_t>> order(counts.begin(), counts.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> characters = {std::string(unicode::kMetaspace)};
  for (const auto& [character, count] : order) {
    if (characters.size() >= (room + 1) / 2) break;
    characters.push_back(character);
  }
  return characters;
}

class PairLearner {
 public:
  PairLearner(const std::map<std::string, std::int64_t>& words, const std::vector<std::string>& characters) {
    for (const std::string& character : characters) intern(character);
    for (const auto& [text, count] : words) add_word(text, count);
    for (const auto& [pair, count] : counts_) queue_.push({count, pair});
  }

  // The pieces, characters first, until there are `room`.
  const std::vector<std::string>& learn(std::size_t room) {
    while (pieces_.size() < room && !queue_.empty()) {
      const Candidate best = queue_.top();
      queue_.pop();
      const std::int64_t now = counts_[best.pair];
      if (now < kRarestPair) continue;
      if (now != best.count) {
        queue_.push({now, best.pair});
      } else {
        merge(best.pair);
      }
    }
    return pieces_;
  }

 private:
  struct Candidate {
    std::int64_t count;
    Pair pair;
    // The most frequent pair first, then the one whose parts were learned first.
    bool operator<(const Candidate& o) const { return count != o.count ? count < o.count : pair > o.pair; }
  };

  Symbol intern(const std::string& piece) {
    const auto [found, fresh] = ids_.try_emplace(piece, static_cast<Symbol>(pieces_.size()));
    if (fresh) {
      pieces_.push_back(piece);
      lengths_.push_back(static_cast<std::size_t>(std::count_if(
          piece.begin(), piece.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; })));
    }
    return found->second;
  }

  // A character without a piece cuts the word.
  void add_word(const std::string& text, std::int64_t count) {
    Word word{{}, count};
    const auto store = [&] {
      if (word.symbols.size() > 1) {
        for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i)
          add_pair({word.symbols[i], word.symbols[i + 1]}, word);
        words_.push_back(word);
      }
      word.symbols.clear();
    };
    for (std::size_t at = 0; at < text.size(); at += unicode::length_at(text, at)) {
      const auto known = ids_.find(text.substr(at, unicode::length_at(text, at)));
      if (known == ids_.end()) {
        store();
      } else {
        word.symbols.push_back(known->second);
      }
    }
    store();
  }

  void add_pair(Pair pair, const Word& word) {
    counts_[pair] += word.count;
    auto& where = where_[pair];
    const std::size_t index = words_.size();
    if (where.empty() || where.back() != index) where.push_back(index);
  }

  void merge(Pair pair) {
    const std::vector<std::size_t> places = std::exchange(where_[pair], {});
    if (length(pair) > kLongestPiece) {
      counts_[pair] = 0;
      return;
    }
    const auto text = [&](Symbol symbol) { return pieces_[static_cast<std::size_t>(symbol)]; };
    const Symbol merged = intern(text(pair.first) + text(pair.second));
    std::map<Pair, std::int64_t> change;
    for (const std::size_t index : places) merge_in(index, pair, merged, change);
    for (const auto& [other, by] : change) {
      counts_[other] += by;
      if (by > 0) queue_.push({counts_[other], other});
    }
  }

  void merge_in(std::size_t index, Pair pair, Symbol merged, std::map<Pair, std::int64_t>& change) {
    Word& word = words_[index];
    const auto& in = word.symbols;
    std::vector<Symbol> out;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const bool here = i + 1 < in.size() && Pair(in[i], in[i + 1]) == pair;
      out.push_back(here ? merged : in[i]);
      i += here;
    }
    if (out.size() == in.size()) return;
    for (std::size_t i = 0; i + 1 < in.size(); ++i) change[{in[i], in[i + 1]}] -= word.count;
    for (std::size_t i = 0; i + 1 < out.size(); ++i) {
      change[{out[i], out[i + 1]}] += word.count;
      if (out[i] == merged || out[i + 1] == merged) where_[{out[i], out[i + 1]}].push_back(index);
    }
    word.symbols = std::move(out);
  }

  std::size_t length(Pair pair) const {
    return lengths_[static_cast<std::size_t>(pair.first)] + lengths_[static_cast<std::size_t>(pair.second)];
  }

  std::vector<std::string> pieces_;
  std::vector<std::size_t> lengths_;  // of the pieces, in characters
  std::unordered_map<std::string, Symbol> ids_;
  std::vector<Word> words_;
  std::unordered_map<Pair, std::int64_t, PairHash> counts_;
  std::unordered_map<Pair, std::vector<std::size_t>, PairHash> where_;  // words that hold, or once held, the pair
  std::priority_queue<Candidate> queue_;
};

struct Special {
  std::vector<std::string> names;
  MadeTokenizer ids;
};

Special special_of(TokenizerStyle style) {
  if (style == TokenizerStyle::llama) return {{"<unk>", "<s>", "</s>"}, {.unk = 0, .bos = 1, .eos = 2, .pad = -1}};
  return {{"<s>", "<pad>", "</s>", "<unk>"}, {.unk = 3, .bos = 2, .eos = 2, .pad = 1}};
}

std::string trainer_spec(const Special& special, int size) {
  const auto name = [&](int id) { return special.names[static_cast<std::size_t>(id)]; };
  ProtoWriter out;
  out.integer(3, 2);  // model_type: BPE
  out.integer(4, size);
  out.integer(20, kLongestPiece);
  out.integer(25, 1);  // split_digits
  out.integer(35, 1);  // byte_fallback
  out.integer(40, special.ids.unk);
  out.integer(41, special.ids.bos);
  out.integer(42, special.ids.eos);
  out.integer(43, special.ids.pad);
  out.bytes(45, name(special.ids.unk));
  out.bytes(46, name(special.ids.bos));
  out.bytes(47, name(special.ids.eos));
  if (special.ids.pad >= 0) out.bytes(48, name(special.ids.pad));
  return out.message();
}

std::string normalizer_spec() {
  ProtoWriter out;
  out.bytes(1, "identity");
  out.integer(3, 1);  // add_dummy_prefix
  out.integer(4, 0);  // remove_extra_whitespaces
  out.integer(5, 1);  // escape_whitespaces
  return out.message();
}

std::string model_file(const Special& special, const std::vector<std::string>& learned) {
  enum : std::int64_t { normal = 1, unknown = 2, control = 3, byte = 6 };
  ProtoWriter model;
  const auto add = [&](std::string_view text, float score, std::int64_t type) {
    ProtoWriter piece;
    piece.bytes(1, text);
    piece.real(2, score);
    piece.integer(3, type);
    model.bytes(1, piece.message());
  };
  for (std::size_t i = 0; i < special.names.size(); ++i) {
    add(special.names[i], 0, static_cast<int>(i) == special.ids.unk ? unknown : control);
  }
  for (int b = 0; b < 256; ++b) add(piece_of_byte(static_cast<unsigned char>(b)), 0, byte);
  for (std::size_t rank = 0; rank < learned.size(); ++rank) add(learned[rank], -static_cast<float>(rank), normal);
  model.bytes(2, trainer_spec(special, special.ids.size));
  model.bytes(3, normalizer_spec());
  return model.message();
}

Json config_file(const Special& special) {
  const auto name = [&](int id) { return special.names[static_cast<std::size_t>(id)]; };
  Json config = {{"tokenizer_class", "LlamaTokenizer"},
                 {"bos_token", name(special.ids.bos)},
                 {"eos_token", name(special.ids.eos)},
                 {"unk_token", name(special.ids.unk)},
                 {"add_bos_token", true},
                 {"add_eos_token", false},
                 {"legacy", true}};
  if (special.ids.pad >= 0) config["pad_token"] = name(special.ids.pad);
  return config;
}

}  // namespace

MadeTokenizer make_tokenizer(std::string_view text, int pieces, const std::filesystem::path& out_dir,
                             TokenizerStyle style) {
  Special special = special_of(style);
  const int fixed = static_cast<int>(special.names.size()) + 256;
  require(pieces > fixed + 1, ErrorCode::usage, "make tokenizer", pieces, " pieces, expected at least ", fixed + 2);
  special.ids.size = pieces;
  const auto room = static_cast<std::size_t>(pieces - fixed);
  const auto words = count_words(unicode::replace_invalid(text));
  PairLearner learner(words, choose_characters(words, room));
  const std::vector<std::string>& learned = learner.learn(room);
  require(learned.size() == room, ErrorCode::input, "make tokenizer", "the text yields only ",
          learned.size() + static_cast<std::size_t>(fixed), " pieces, asked for ", pieces);
  std::error_code error;
  std::filesystem::create_directories(out_dir, error);
  require(!error, ErrorCode::io, out_dir.string(), "cannot be created: ", error.message());
  write_text_atomic(out_dir / "tokenizer.model", model_file(special, learned));
  write_text_atomic(out_dir / "tokenizer_config.json", json_text(config_file(special)));
  return special.ids;
}

}  // namespace sinter
