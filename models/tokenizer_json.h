#pragma once
#include <string>

#include "core/json.h"
#include "models/tokenizer_parts.h"

// The parts of a tokenizer.json, one function per section. `where` names the file; kinds that are not known are an
// Error(input) with the name of the field, never ignored.
namespace sinter {

void read_normalizer(const std::string& where, const Json& section, std::vector<Normalizer>& out);
void read_pre_tokenizer(const std::string& where, const Json& section, std::vector<PreTokenizer>& out);
void read_post_processor(const std::string& where, const Json& section, TokenizerParts& parts);

// `fused`: the tokens have become one text, so that what follows sees the ends of the text only.
void read_decoder(const std::string& where, const Json& section, bool& fused, std::vector<DecodeStageFactory>& out);

// The two sections of a model that vocab.json and merges.txt hold, too.
void read_vocabulary(const std::string& where, const Json& vocab, TokenizerParts& parts);
void add_merge(const std::string& where, std::size_t rank, std::string_view left, std::string_view right,
               BpeModel& model);

}  // namespace sinter
