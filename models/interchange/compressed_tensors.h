#pragma once
#include "core/json.h"
#include "core/tensor_file.h"
#include "models/interchange/bit_words.h"
#include "models/interchange/foreign.h"
#include "models/interchange/grid_linear.h"

// compressed-tensors checkpoints (llm-compressor, vLLM). Of a linear [m out, n in] with b bits, G groups per row:
// pack-quantized
//   weight_packed      i32 [m, ⌈n·b/32⌉]   a stream along each row of signed values + 2^(b−1)
//   weight_scale       float [m, G]        [m, 1] per channel, [1] per tensor
//   weight_zero_point  i32 [⌈m·b/32⌉, G]   a stream down each column, + 2^(b−1); absent on a symmetric grid
//   weight_shape       i64 [2] = {m, n}
//   weight_g_idx       i32 [n]             act-order: the group of each input
//   Streams of 3, 5, 6, 7 bits use whole words before version 0.17, and are dense from then on.
// int-quantized, naive-quantized: weight i8 [m, n], weight_scale, weight_zero_point i8 [m, G]
// sparse-24-bitmask, sparse-bitmask (until 0.14): compressed (the kept weights, [m, n/2] or [kept]),
//   bitmask u8 [m, ⌈n/8⌉] with the lowest bit first, shape i64 [2], and row_offsets i64 [m] for the latter
namespace sinter {

std::unique_ptr<ForeignFormat> read_compressed_tensors(const Json& config, const std::string& where,
                                                       std::vector<std::string>& warnings);

// pack-quantized, in the dense layout; symmetric grids have no zero points. For grids without act-order.
NamedTensors compressed_tensors(const std::string& linear, const GridLinear&);

}  // namespace sinter
