#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/bpe.h"

namespace sinter {

// A token that is looked for in the text before the model sees it: <s>, [PAD], <|eot_id|>.
struct AddedToken {
  std::int32_t id = -1;
  std::string content;
  bool single_word = false;  // only where no letter, number or connector touches it
  bool lstrip = false;  // swallows the white space before it
  bool rstrip = false;  // and after it
  bool normalized = false;  // looked for in the normalised text
  bool special = false;  // left out when ids are decoded without special tokens
};

// Finds added tokens: leftmost first, the longest of those that begin at the same place.
class AddedTokens {
 public:
  struct Part {
    std::size_t begin, end;
    std::optional<std::int32_t> id;  // none: text between the tokens
  };
  void add(const AddedToken& token, std::string_view content);
  std::vector<Part> split(std::string_view text) const;

 private:
  PrefixTrie trie_;
  std::vector<AddedToken> tokens_;
};

}  // namespace sinter
