#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "train/compress/grid.h"
#include "train/compress/mask.h"

namespace sinter {

// The column solver of SparseGPT (Frantar & Alistarh 2023), GPTQ (Frantar et al. 2023) and both at once. Columns are
// fixed from left to right; the error of each goes to those not yet fixed. With H⁻¹ = Uᵀ U, U upper, the papers write
//   q_j = pruned ? 0 : grid(w_j),  e = (w_j − q_j) / U_jj,  w_k −= e U_jk for k > j,  loss += e² / 2
// Then loss = ½ tr((W − Ŵ) H (W − Ŵ)ᵀ), for any mask and grid. Without either it returns W.
//
// U = R⁻¹ for the factor H = R Rᵀ, and what the columns < b have done to a block b of columns is
//   W_b + (W − Ŵ)_<b R_<b,b R_bb⁻¹
// so R itself is enough, with the inverses of its diagonal blocks: U is never formed, and columns behind the block are
// neither read nor written.
struct ObsOptions {
  // Unstructured: the floor(p · size) lowest w² / U_jj² of each block of columns, all rows compared with one another.
  // n:m: per row and group, at the weights as updated so far.
  Sparsity sparsity = Unpruned{};
  bool one_more = false;  // unstructured: one weight more per block, as the SparseGPT code's `<=` prunes
  Tensor drop;  // or a mask fixed beforehand: u8 [m, n], 1 = becomes zero

  std::optional<GridRule> grid;  // quantise what is not pruned, on grids
  std::optional<Grid> known;  // - found before the sweep, or else at a group's first column, of the updated weights
  std::vector<std::int64_t> group_of;  // - and not laid out by position: the group of each column (with `known`)
  // Grids of groups that begin inside a block ignore the updates of that block, as in the GPTQ code.
  bool stale_groups = false;

  std::int64_t block = 128;  // columns between two updates of the rest; made a multiple of n:m and grid groups
};

struct ObsResult {
  Tensor w;  // [m, n]
  Tensor codes;  // u8 [m, n] when quantising
  Grid grid;
  double loss = 0;
};

// w [m, n] and root R [n, n] of one float type; w is worked on in place when it is the only owner, beside one matrix of
// its size. Rows are solved in tiles of fixed size: the same bits for any number of threads. Error(numeric) named `where`
// when a value overflows.
ObsResult solve_obs(Tensor w, const Tensor& root, const ObsOptions&, std::string_view where);

}  // namespace sinter
