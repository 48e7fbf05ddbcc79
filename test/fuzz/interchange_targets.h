#pragma once
#include <string_view>

#include "test/fuzz/mutate.h"

// Attacks on the files of other programs. An input that stands for several files has them one after another, with
// kNextFile between.
namespace sinter::fuzz {

inline constexpr char kNextFile = '\x1e';

// ZipArchive: the members lie apart in the file.
Outcome load_zip(std::string_view input);
// data.pkl of a pytorch_model.bin: Pickle, then open_bin on a sound archive around it, and every tensor.
Outcome load_pickle(std::string_view input);
// vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json, added_tokens.json: Tokenizer, text and back.
Outcome load_vocabulary(std::string_view input);
// config.json, the header of model.safetensors (its length is put right), its data: Checkpoint, linear "l" by packed(),
// load_packed, dense.
Outcome load_foreign(std::string_view input);
// One .gguf: configuration, every tensor, tokenizer.
Outcome load_gguf(std::string_view input);

Suite zip_suite();
Suite pickle_suite();
Suite vocabulary_suite();
Suite foreign_suite();
Suite gguf_suite();

}  // namespace sinter::fuzz
