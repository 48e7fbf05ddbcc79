#pragma once
#include "core/json.h"
#include "models/interchange/foreign.h"

// AWQ checkpoints, version "gemm", 4 bits. Of a linear [O out, I in] in groups of g inputs:
//   qweight  i32 [I, O/8]       the codes of outputs 8k .. 8k + 7, from the lowest nibble: 8k + {0, 2, 4, 6, 1, 3, 5, 7}
//   qzeros   i32 [⌈I/g⌉, O/8]   zeros, in the same order of nibbles
//   scales   f16 [⌈I/g⌉, O]
// w_oi = scales[i / g, o] · (code_io − zero). The scaling of channels that AWQ found is in the layer before already.
namespace sinter {

std::unique_ptr<ForeignFormat> read_awq(const Json& config, const std::string& where);

}  // namespace sinter
