#pragma once
#include "core/json.h"
#include "core/tensor_file.h"
#include "models/interchange/foreign.h"
#include "models/interchange/grid_linear.h"

// GPTQ checkpoints (AutoGPTQ, GPTQModel). Of a linear [O out, I in] with b bits in groups of g inputs:
//   qweight  i32 [I·b/32, O]         codes, a stream down each column
//   qzeros   i32 [⌈I/g⌉, O·b/32]     zeros, a stream along each row; version 1 stores (zero − 1) mod 2^b
//   scales   f16 [⌈I/g⌉, O]
//   g_idx    i32 [I]                 group of each input; i / g without act-order
// w_oi = scales[g_idx[i], o] · (code_io − zero). I and O are multiples of 32.
namespace sinter {

std::unique_ptr<ForeignFormat> read_gptq(const Json& config, const std::string& where, const Checkpoint&,
                                         std::vector<std::string>& warnings);

bool fits_gptq(std::int64_t out, std::int64_t in);  // multiples of 32
NamedTensors gptq_tensors(const std::string& linear, const GridLinear&, int version);  // scales become f16

}  // namespace sinter
