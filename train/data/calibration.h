#pragma once
#include "train/data/text.h"

namespace sinter {

// Whose scripts the calibration windows are drawn like, bit for bit, with Python's generator:
//   records (.jsonl, .json.gz): get_c4. A document drawn until one has more than T tokens (each rejected one consumes its
//     draws), then a place in [0, tokens − T − 1]. GPTQ's script accepts exactly T tokens as well and then fails; such a
//     document is rejected here.
//   plain text: get_wikitext2. The rows joined, by a space (SparseGPT, Wanda) or by a blank line (GPTQ), then a place each.
// Text is tokenised with special tokens, so a window begins with one only at place 0.
enum class CalibrationStyle { sparsegpt, wanda, gptq };

CalibrationStyle parse_calibration_style(std::string_view);  // Error(usage)

// `count` windows of T = `length` ids. Error(usage) for a .json of ready windows, Error(input) when nothing is longer
// than T.
Windows calibration_like(CalibrationStyle, const std::filesystem::path&, const Tokenizer&, std::int64_t count,
                         std::int64_t length, std::uint64_t seed);

}  // namespace sinter
