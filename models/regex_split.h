#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sinter {

struct TextSpan {
  std::size_t begin = 0, end = 0;
  bool match = false;
};

// A regular expression with Unicode classes and look-around. The pattern is untrusted: a bad one, or one that needs too
// many steps on some text, is an Error(input) that names `where` (the file and field it came from).
class Regex {
 public:
  Regex(std::string_view pattern, std::string where);
  // The whole of `text` (valid UTF-8) as matches and the gaps between them, in order; empty matches are left out.
  std::vector<TextSpan> spans(std::string_view text) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

// The same cut for a literal.
std::vector<TextSpan> literal_spans(std::string_view text, std::string_view literal);

// What becomes of the matches of a Split (tokenizers' names): dropped, pieces of their own, glued to a neighbour, or
// glued to neighbouring matches.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
// The pieces of a text that was cut into `spans`; none is empty.
std::vector<TextSpan> split_spans(const std::vector<TextSpan>& spans, SplitBehavior behavior);

}  // namespace sinter
