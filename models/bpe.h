#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace sinter {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};
using TokenIds = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

// A set of strings with ids; finds the longest one that a text continues with.
class PrefixTrie {
 public:
  void add(std::string_view text, std::int32_t id);
  struct Found {
    std::int32_t id = -1;
    std::size_t length = 0;  // 0: none
  };
  Found longest(std::string_view text) const;
  bool empty() const { return nodes_ == 1; }

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> children_;  // (node, byte) -> node
  std::unordered_map<std::uint32_t, std::int32_t> ids_;  // node -> id of the string that ends there
  std::uint32_t nodes_ = 1;
  bool starts_[256] = {};  // spares the look-up for the bytes that begin nothing
};

// Byte pair merges (Sennrich et al. 2016): of all adjacent pairs the one of lowest rank goes first, the leftmost on
// ties, until no pair has a rank. A queue of pairs makes it O(n log n), so that a whole book may be one word.
class BpeMerges {
 public:
  // The later of two rules for the same pair wins. A merged symbol that is `unused` is taken apart again at the end.
  void add(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged, bool unused = false);
  // To be called after the last add() when no merged symbol is ever a first symbol: finds the neighbours across which
  // nothing can ever grow. A text is cut there, and the queues stay short: three times as fast for a whole book.
  void find_joints();
  void apply(std::vector<std::int32_t>& symbols) const;
  bool makes_any(std::span<const std::int32_t> ids) const;  // is one of them a merged symbol?

 private:
  struct Rule {
    std::uint32_t rank;
    std::int32_t merged;
    bool unused;
  };
  struct Workspace;
  const Rule* find(std::int32_t left, std::int32_t right) const;
  void consider(Workspace& work, std::uint32_t left) const;
  void merge_all(Workspace& work, std::span<const std::int32_t> symbols, std::vector<std::int32_t>& out) const;

  std::unordered_map<std::uint64_t, Rule> rules_;
  std::unordered_set<std::uint64_t> joints_;  // pairs of first symbols that stand side by side inside a merged one
  bool cut_ = false;
};

// From one word to ids: characters, byte fallback or the unknown token, then the merges.
struct BpeModel {
  TokenIds ids;
  BpeMerges merges;
  std::string word_prefix, word_suffix;  // of every character but the first, and of the last one
  std::vector<std::int32_t> byte_ids;  // 256 ids, -1 where a byte has none; empty: no byte fallback
  std::optional<std::int32_t> unknown;  // without one, unknown characters vanish
  bool fuse_unknown = false;  // a run of unknown characters is one token
  bool whole_words = false;  // a word that is a token is that token, whatever the merges say
  PrefixTrie frozen;  // these strings are symbols that are never merged

  void prepare();  // after ids and merges are complete
  void encode(std::string_view word, std::vector<std::int32_t>& out) const;

 private:
  void encode_unfrozen(std::string_view word, std::vector<std::int32_t>& out) const;
  bool push_bytes(std::string_view symbol, std::vector<std::int32_t>& out) const;
};

}  // namespace sinter
