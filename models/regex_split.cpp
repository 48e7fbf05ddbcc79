#include "models/regex_split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "core/error.h"

namespace sinter {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one match
constexpr std::uint32_t kHeapLimitKiB = 256u * 1024;  // of the interpreter, used where there is no JIT
constexpr std::size_t kJitStackBytes = 1u << 20;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

std::string message_of(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

// PCRE's \s counts U+180E as a space, which Unicode no longer does; White_Space is what tokenizers' engine uses.
std::string with_unicode_spaces(std::string_view pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '\\' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    const char escaped = pattern[++i];
    if (escaped == 's' || escaped == 'S') {
      out += escaped == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
    } else {
      out += {'\\', escaped};
    }
  }
  return out;
}

}  // namespace

struct Regex::Compiled {
  std::string where;
  Code code;
  bool jit = false;
};

Regex::Regex(std::string_view pattern, std::string where) {
  auto compiled = std::make_shared<Compiled>();
  const std::string text = with_unicode_spaces(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                     PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                     nullptr));
  require(compiled->code != nullptr, ErrorCode::input, where, "bad regular expression: ", message_of(error));
  compiled->jit = pcre2_jit_compile(compiled->code.get(), PCRE2_JIT_COMPLETE) == 0;
  compiled->where = std::move(where);
  compiled_ = std::move(compiled);
}

std::vector<TextSpan> Regex::spans(std::string_view text) const {
  const Compiled& c = *compiled_;
  const MatchData data(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  require(data && context, ErrorCode::out_of_memory, c.where, "no memory for matching");
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimitKiB);
  const JitStack stack(c.jit ? pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr) : nullptr);
  if (stack) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());

  std::vector<TextSpan> out;
  std::size_t from = 0, gap = 0;  // where to search, and where the text not yet given out begins
  while (from < text.size()) {
    // Checking the whole text for valid UTF-8 at every match would be quadratic; the caller did it once.
    const auto find = [&](std::uint32_t options) {
      return pcre2_match(c.code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                         PCRE2_NO_UTF_CHECK | options, data.get(), context.get());
    };
    int found = find(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = find(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) break;
    require(found >= 0, ErrorCode::input, c.where, "the regular expression gave up: ", message_of(found));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    if (bounds[0] >= bounds[1]) {  // an empty match (\K can even end before it starts): go on one character further
      from = std::max(from, static_cast<std::size_t>(bounds[0]));
      do ++from;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
      continue;
    }
    const std::size_t begin = std::max(static_cast<std::size_t>(bounds[0]), gap);
    if (begin > gap) out.push_back({gap, begin, false});
    out.push_back({begin, bounds[1], true});
    from = gap = bounds[1];
  }
  if (gap < text.size()) out.push_back({gap, text.size(), false});
  return out;
}

std::vector<TextSpan> literal_spans(std::string_view text, std::string_view literal) {
  std::vector<TextSpan> out;
  std::size_t gap = 0;
  while (!literal.empty()) {
    const std::size_t at = text.find(literal, gap);
    if (at == std::string_view::npos) break;
    if (at > gap) out.push_back({gap, at, false});
    out.push_back({at, at + literal.size(), true});
    gap = at + literal.size();
  }
  if (gap < text.size()) out.push_back({gap, text.size(), false});
  return out;
}

std::vector<TextSpan> split_spans(const std::vector<TextSpan>& spans, SplitBehavior behavior) {
  std::vector<TextSpan> out;
  const std::size_t n = spans.size();
  for (std::size_t i = 0; i < n; ++i) {
    const TextSpan& span = spans[i];
    bool glued = false;  // to the piece before
    switch (behavior) {
      case SplitBehavior::removed:
        if (span.match) continue;
        break;
      case SplitBehavior::isolated: break;
      case SplitBehavior::contiguous: glued = i > 0 && spans[i - 1].match == span.match; break;
      // A run of matches gives its first to the text before it, or its last to the text after it.
      case SplitBehavior::merged_with_previous: glued = i > 0 && span.match && !spans[i - 1].match; break;
      case SplitBehavior::merged_with_next: glued = i > 0 && !span.match && spans[i - 1].match; break;
    }
    if (glued) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
  }
  return out;
}

}  // namespace sinter
