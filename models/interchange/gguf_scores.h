#pragma once
#include <string>

#include "core/json.h"
#include "models/sentencepiece_model.h"

namespace sinter {

// Is this tokenizer.json a SentencePiece BPE model in another form (byte fallback, merges instead of scores)?
bool has_byte_fallback(const Json& tokenizer, const std::string& where);

// That model: a piece's score is −(the place of its first merge). Error(unsupported) when the merges are not those
// that scores would allow: all ways to cut a piece in two, one piece after the other.
SentencePieceModel sentencepiece_of_merges(const Json& tokenizer, const std::string& where);

}  // namespace sinter
