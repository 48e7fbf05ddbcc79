#include "models/bpe.h"

#include <algorithm>
#include <queue>

#include "core/error.h"
#include "models/unicode.h"

namespace sinter {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

}  // namespace

void PrefixTrie::add(std::string_view text, std::int32_t id) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  std::uint32_t node = 0;
  for (const char c : text) {
    const auto key = static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(c);
    const auto [child, fresh] = children_.try_emplace(key, nodes_);
    nodes_ += fresh;
    node = child->second;
  }
  ids_[node] = id;
}

PrefixTrie::Found PrefixTrie::longest(std::string_view text) const {
  Found best;
  if (text.empty() || !starts_[static_cast<unsigned char>(text[0])]) return best;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto child = children_.find(static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (const auto end = ids_.find(node); end != ids_.end()) best = {end->second, i + 1};
  }
  return best;
}

void BpeMerges::add(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged, bool unused) {
  rules_[pair_key(left, right)] = {rank, merged, unused};
}

const BpeMerges::Rule* BpeMerges::find(std::int32_t left, std::int32_t right) const {
  const auto rule = rules_.find(pair_key(left, right));
  return rule == rules_.end() ? nullptr : &rule->second;
}

// A merged symbol begins with the first symbol of its left part and ends with the last one of its right part.
void BpeMerges::find_joints() {
  using Parts = std::pair<std::int32_t, std::int32_t>;
  std::unordered_map<std::int32_t, Parts> made;  // merged symbol -> its parts
  for (const auto& [key, rule] : rules_) {
    if (rule.unused) return;  // its parts depend on the order of all merges of a text
    made[rule.merged] = {static_cast<std::int32_t>(key >> 32), static_cast<std::int32_t>(key)};
  }
  using Ends = std::unordered_map<std::int32_t, std::int32_t>;
  Ends first, last;
  const auto resolve = [&](Ends& known, std::int32_t symbol, std::int32_t Parts::*side) {
    std::vector<std::int32_t> path;
    while (!known.contains(symbol)) {
      path.push_back(symbol);
      const auto parts = made.find(symbol);
      if (parts == made.end()) {
        known[symbol] = symbol;
      } else {
        symbol = parts->second.*side;
      }
      if (path.size() > made.size() + 1) return -1;  // rules in a circle
    }
    const std::int32_t end = known[symbol];
    for (const std::int32_t s : path) known[s] = end;
    return end;
  };
  for (const auto& [key, rule] : rules_) {
    const auto left = static_cast<std::int32_t>(key >> 32), right = static_cast<std::int32_t>(key);
    const std::int32_t begin = resolve(first, left, &Parts::first), end = resolve(last, right, &Parts::second);
    // Two ways to make a symbol must agree on its ends; they do when equal symbols are equal texts.
    if (begin < 0 || begin != resolve(first, rule.merged, &Parts::first)) return;
    if (end < 0 || end != resolve(last, rule.merged, &Parts::second)) return;
    joints_.insert(pair_key(resolve(last, left, &Parts::second), resolve(first, right, &Parts::first)));
  }
  cut_ = true;
}

struct BpeMerges::Workspace {
  struct Symbol {
    std::int32_t id;
    std::uint32_t previous, next;
    std::uint32_t span;  // first symbols it covers; 0: merged into another
  };
  struct Candidate {
    std::uint32_t rank, left, span;
    std::int32_t merged;
    bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : left > o.left; }
  };
  std::vector<Symbol> symbols;
  std::priority_queue<Candidate> queue;
  std::unordered_map<std::int32_t, std::pair<std::int32_t, std::int32_t>> parts;  // of unused symbols
  std::vector<std::int32_t> stack;
};

void BpeMerges::consider(Workspace& work, std::uint32_t left) const {
  if (left == kNone || work.symbols[left].next == kNone) return;
  const auto& a = work.symbols[left];
  const auto& b = work.symbols[a.next];
  const Rule* rule = find(a.id, b.id);
  if (!rule) return;
  work.queue.push({rule->rank, left, a.span + b.span, rule->merged});
  if (rule->unused) work.parts[rule->merged] = {a.id, b.id};
}

void BpeMerges::merge_all(Workspace& work, std::span<const std::int32_t> ids, std::vector<std::int32_t>& out) const {
  const auto n = static_cast<std::uint32_t>(ids.size());
  work.symbols.clear();
  for (std::uint32_t i = 0; i < n; ++i) {
    work.symbols.push_back({ids[i], i == 0 ? kNone : i - 1, i + 1 < n ? i + 1 : kNone, 1});
  }
  for (std::uint32_t i = 0; i + 1 < n; ++i) consider(work, i);

  while (!work.queue.empty()) {
    const auto top = work.queue.top();
    work.queue.pop();
    auto& left = work.symbols[top.left];
    if (left.span == 0 || left.next == kNone) continue;
    auto& right = work.symbols[left.next];
    if (left.span + right.span != top.span) continue;  // one of the two has grown since
    left.id = top.merged;
    left.span = top.span;
    left.next = right.next;
    right.span = 0;
    if (left.next != kNone) work.symbols[left.next].previous = top.left;
    consider(work, left.previous);
    consider(work, top.left);
  }

  for (std::uint32_t i = 0; i != kNone; i = work.symbols[i].next) {
    work.stack.push_back(work.symbols[i].id);
    while (!work.stack.empty()) {
      const std::int32_t id = work.stack.back();
      work.stack.pop_back();
      const auto split = work.parts.find(id);
      if (split == work.parts.end()) {
        out.push_back(id);
      } else {
        work.stack.push_back(split->second.second);
        work.stack.push_back(split->second.first);
      }
    }
  }
}

void BpeMerges::apply(std::vector<std::int32_t>& ids) const {
  if (ids.size() < 2) return;
  require(ids.size() < kNone, ErrorCode::input, "tokenizer", "a text of ", ids.size(), " characters is too long");
  Workspace work;
  std::vector<std::int32_t> out;
  out.reserve(ids.size());
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= ids.size(); ++i) {
    const bool grows = i < ids.size() && (!cut_ || joints_.contains(pair_key(ids[i - 1], ids[i])));
    if (grows) continue;
    if (i - begin == 1) {
      out.push_back(ids[begin]);
    } else {
      merge_all(work, std::span(ids).subspan(begin, i - begin), out);
    }
    begin = i;
  }
  ids = std::move(out);
}

bool BpeMerges::makes_any(std::span<const std::int32_t> ids) const {
  const std::unordered_set<std::int32_t> wanted(ids.begin(), ids.end());
  return std::any_of(rules_.begin(), rules_.end(),
                     [&](const auto& entry) { return wanted.contains(entry.second.merged); });
}

void BpeModel::prepare() {
  // With affixes, or a byte or unknown token that merges produce, a first symbol might also be a merged one.
  std::vector<std::int32_t> stand_ins = byte_ids;
  if (unknown) stand_ins.push_back(*unknown);
  if (!word_prefix.empty() || !word_suffix.empty() || merges.makes_any(stand_ins)) return;
  merges.find_joints();
}

bool BpeModel::push_bytes(std::string_view symbol, std::vector<std::int32_t>& out) const {
  if (byte_ids.empty()) return false;
  const auto id_of = [&](char c) { return byte_ids[static_cast<unsigned char>(c)]; };
  if (std::any_of(symbol.begin(), symbol.end(), [&](char c) { return id_of(c) < 0; })) return false;
  for (const char c : symbol) out.push_back(id_of(c));
  return true;
}

void BpeModel::encode_unfrozen(std::string_view word, std::vector<std::int32_t>& out) const {
  std::vector<std::int32_t> symbols;
  symbols.reserve(word.size());
  bool pending_unknown = false;
  std::string decorated;
  for (std::size_t at = 0, length = 0; at < word.size(); at += length) {
    length = unicode::length_at(word, at);
    std::string_view symbol = word.substr(at, length);
    if (!word_prefix.empty() || !word_suffix.empty()) {
      decorated = at > 0 ? word_prefix : std::string();
      decorated += symbol;
      if (at + length == word.size()) decorated += word_suffix;
      symbol = decorated;
    }
    if (const auto known = ids.find(symbol); known != ids.end()) {
      if (pending_unknown) symbols.push_back(*unknown);
      pending_unknown = false;
      symbols.push_back(known->second);
    } else if (!push_bytes(symbol, symbols) && unknown) {
      if (pending_unknown && !fuse_unknown) symbols.push_back(*unknown);
      pending_unknown = true;
    }
  }
  if (pending_unknown) symbols.push_back(*unknown);
  merges.apply(symbols);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

void BpeModel::encode(std::string_view word, std::vector<std::int32_t>& out) const {
  if (whole_words) {
    if (const auto known = ids.find(word); known != ids.end()) {
      out.push_back(known->second);
      return;
    }
  }
  if (frozen.empty()) return encode_unfrozen(word, out);
  std::size_t begin = 0, at = 0;  // of the part not yet encoded, and of the search
  while (at < word.size()) {
    const PrefixTrie::Found found = frozen.longest(word.substr(at));
    if (found.length > 0) {
      encode_unfrozen(word.substr(begin, at - begin), out);
      out.push_back(found.id);
      begin = at += found.length;
    } else {
      at += unicode::length_at(word, at);
    }
  }
  encode_unfrozen(word.substr(begin), out);
}

}  // namespace sinter
