#include "models/tokenizer_decode.h"

#include <utility>

#include "models/utf8_stream.h"

namespace sinter {
namespace {

template <class Stage, class... Args>
DecodeStageFactory make_stage(Args... args) {
  return [=] { return std::make_unique<Stage>(args...); };
}

class Replace : public DecodeStage {
 public:
  explicit Replace(Normalizer replace) : replace_(std::move(replace)) {}
  void push(std::int32_t id, std::string token, std::vector<std::string>& out) override {
    out.push_back(bytes(id, std::move(token)));
  }
  std::string bytes(std::int32_t, std::string token) const override {
    replace_(token, false);
    return token;
  }

 private:
  Normalizer replace_;
};

class ByteFallback : public DecodeStage {
 public:
  void push(std::int32_t, std::string token, std::vector<std::string>& out) override {
    if (const int byte = byte_of_piece(token); byte >= 0) {
      run_ += static_cast<char>(byte);
      return;
    }
    finish(out);
    out.push_back(std::move(token));
  }
  void finish(std::vector<std::string>& out) override {
    if (run_.empty()) return;
    if (!unicode::is_valid(run_)) {
      const std::size_t count = run_.size();
      run_.clear();
      for (std::size_t i = 0; i < count; ++i) run_ += unicode::kReplacement;
    }
    out.push_back(std::exchange(run_, {}));
  }
  std::string bytes(std::int32_t, std::string token) const override {
    const int byte = byte_of_piece(token);
    return byte < 0 ? token : std::string(1, static_cast<char>(byte));
  }

 private:
  std::string run_;
};

class ByteLevel : public DecodeStage {
 public:
  void push(std::int32_t id, std::string token, std::vector<std::string>& out) override {
    out.push_back(text_.push(bytes(id, std::move(token))));
  }
  void finish(std::vector<std::string>& out) override { out.push_back(text_.flush()); }
  // A token with a character that stands for no byte (an added token) is its own text.
  std::string bytes(std::int32_t, std::string token) const override {
    std::string out;
    for (std::size_t at = 0; at < token.size(); at += unicode::length_at(token, at)) {
      const int byte = char_to_byte(unicode::decode(std::string_view(token).substr(at)));
      if (byte < 0) return token;
      out += static_cast<char>(byte);
    }
    return out;
  }

 private:
  Utf8Stream text_;
};

class Metaspace : public DecodeStage {
 public:
  Metaspace(std::string replacement, bool drop_first) : replacement_(std::move(replacement)), drop_(drop_first) {}
  void push(std::int32_t id, std::string token, std::vector<std::string>& out) override {
    if (drop_) {
      replace_literal(replacement_, "")(token, false);
      drop_ = false;
    }
    out.push_back(bytes(id, std::move(token)));
  }
  std::string bytes(std::int32_t, std::string token) const override {
    replace_literal(replacement_, " ")(token, false);
    return token;
  }

 private:
  std::string replacement_;
  bool drop_;  // the marks of the first token stand for no space
};

class Strip : public DecodeStage {
 public:
  Strip(std::string content, std::size_t start, std::size_t stop, bool whole)
      : content_(std::move(content)), start_(start), stop_(stop), whole_(whole), left_(start) {}

  void push(std::int32_t, std::string token, std::vector<std::string>& out) override {
    if (!whole_) left_ = start_;
    std::string_view text = token;
    while (left_ > 0 && text.starts_with(content_)) {
      text.remove_prefix(content_.size());
      --left_;
    }
    if (!text.empty() || !whole_) left_ = 0;
    // Only the last `stop_` of a run at the end may have to go: they wait until more text follows.
    std::string settled = repeat(waiting_);
    settled += text;
    waiting_ = 0;
    while (waiting_ < stop_ && settled.ends_with(content_)) {
      settled.erase(settled.size() - content_.size());
      ++waiting_;
    }
    if (!whole_) waiting_ = 0;
    out.push_back(std::move(settled));
  }

 private:
  std::string repeat(std::size_t count) const {
    std::string out;
    for (std::size_t i = 0; i < count; ++i) out += content_;
    return out;
  }
  std::string content_;
  std::size_t start_, stop_;
  bool whole_;
  std::size_t left_;  // how many may still be removed from the start
  std::size_t waiting_ = 0;  // how many are held back at the end
};

class JoinedBySpaces : public DecodeStage {
 public:
  void push(std::int32_t, std::string token, std::vector<std::string>& out) override {
    if (!first_) out.emplace_back(" ");
    first_ = false;
    out.push_back(std::move(token));
  }

 private:
  bool first_ = true;
};

class SentencePiece : public DecodeStage {
 public:
  explicit SentencePiece(std::shared_ptr<const SentencePieceDecoding> how) : how_(std::move(how)) {}

  void push(std::int32_t id, std::string token, std::vector<std::string>& out) override {
    if (kind(id) == PieceKind::byte) return emit(run_.push(bytes(id, token)), out);
    emit(run_.flush(), out);
    if (prefix_seen_ || !empty_) at_start_ = false;
    if (kind(id) == PieceKind::normal && at_start_) {
      std::string_view rest = token;
      while (rest.starts_with(unicode::kMetaspace) && (how_->drop_leading_spaces || how_->drop_first_space)) {
        rest.remove_prefix(unicode::kMetaspace.size());
        prefix_seen_ = !how_->drop_leading_spaces;
        if (prefix_seen_) break;
      }
      token = std::string(rest);
    }
    emit(bytes(id, std::move(token)), out);
  }
  void finish(std::vector<std::string>& out) override { emit(run_.flush(), out); }

  std::string bytes(std::int32_t id, std::string token) const override {
    switch (kind(id)) {
      case PieceKind::byte: return std::string(1, static_cast<char>(byte_of_piece(token)));
      case PieceKind::unknown: return how_->unknown_surface;
      case PieceKind::normal: replace_literal(std::string(unicode::kMetaspace), " ")(token, false); return token;
      case PieceKind::control:
      case PieceKind::added: return token;
    }
    return token;
  }

 private:
  PieceKind kind(std::int32_t id) const {
    const auto at = static_cast<std::size_t>(id);
    return at < how_->kinds.size() ? how_->kinds[at] : PieceKind::added;
  }
  void emit(std::string text, std::vector<std::string>& out) {
    if (text.empty()) return;
    empty_ = false;
    out.push_back(std::move(text));
  }
  std::shared_ptr<const SentencePieceDecoding> how_;
  Utf8Stream run_{Utf8Stream::Invalid::per_byte};  // the bytes of neighbouring byte pieces
  bool at_start_ = true, prefix_seen_ = false, empty_ = true;
};

}  // namespace

DecodeStageFactory decode_replace(Normalizer replace) { return make_stage<Replace>(std::move(replace)); }
DecodeStageFactory decode_byte_fallback() { return make_stage<ByteFallback>(); }
DecodeStageFactory decode_byte_level() { return make_stage<ByteLevel>(); }
DecodeStageFactory decode_joined_by_spaces() { return make_stage<JoinedBySpaces>(); }
DecodeStageFactory decode_metaspace(std::string replacement, bool drop_first) {
  return make_stage<Metaspace>(std::move(replacement), drop_first);
}
DecodeStageFactory decode_strip(std::string content, std::size_t start, std::size_t stop, bool whole) {
  return make_stage<Strip>(std::move(content), start, stop, whole);
}
DecodeStageFactory decode_sentencepiece(std::shared_ptr<const SentencePieceDecoding> how) {
  return make_stage<SentencePiece>(std::move(how));
}

int byte_of_piece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  const int high = digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string piece_of_byte(unsigned char byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

}  // namespace sinter
