#pragma once
#include <string_view>

#include "test/fuzz/mutate.h"

// Attacks on what a model directory holds besides plain tensors. What loads is used once: it must work, and it may not
// take memory out of proportion to the file.
namespace sinter::fuzz {

// parse_config and rope_frequencies.
Outcome load_config(std::string_view input);
// Tokenizer::load, then a text to ids and back.
Outcome load_sentencepiece(std::string_view input);
Outcome load_tokenizer_json(std::string_view input);
// A model.safetensors with weights in formats of ours: Checkpoint, load_packed, and each product once.
Outcome load_packed_file(std::string_view input);
// The same behind the file: a Packed of any fields and tensors.
Outcome load_weight(std::string_view input);

Suite config_suite();
Suite sentencepiece_suite();
Suite tokenizer_json_suite();
Suite packed_suite();
Suite weight_suite();

}  // namespace sinter::fuzz
