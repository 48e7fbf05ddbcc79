#include "test/ops/op_table.h"

namespace sinter::test {

std::vector<OpRow> all_rows() {
  std::vector<OpRow> all;
  for (const auto rows : {rows_of_pointwise, rows_of_rows, rows_of_products, rows_of_attention, rows_of_cross_entropy})
    for (OpRow& row : rows()) all.push_back(std::move(row));
  return all;
}

}  // namespace sinter::test
