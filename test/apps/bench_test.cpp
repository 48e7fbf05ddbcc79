#include "apps/bench.h"

#include <algorithm>

#include "test/apps/ran.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("bench lists what it measures and refuses what it does not know") {
  const Ran r = sinter_run({"bench", "--list", "--json", "-", "--quiet"});
  CHECK(r.code == 0);
  const auto names = r.json()["what"].get<std::vector<std::string>>();
  for (const char* name : {"gemm_f32", "decode_f32", "decode_2of4_bf16"}) CHECK(std::ranges::count(names, name) == 1);
  check_refused({"bench", "--what", "gemm_f23"}, 2, "did you mean gemm_f32?");
  check_refused({"bench", "--what", "gemm_f32,"}, 2, "no benchmark \"\"");
}

TEST_CASE("limit and engine are measured in turn and reported by the round with the median ratio") {
  NullLog log;
  std::string order;
  const double engines[] = {99, 3, 1, 7, 5, 2, 6, 4};  // the first round warms up
  std::size_t l = 0, e = 0;
  const auto s = bench::in_turn(
      log, [&] { return order += 'l', 100. + double(l++); },
      [&] {
        order += 'e';
        const double seconds = (100. + double(e)) * engines[e];
        return ++e, seconds;
      });
  CHECK(order.size() == 2 * (bench::kRounds + 1));
  for (std::size_t i = 0; i < order.size(); ++i) CHECK(order[i] == "le"[i % 2]);
  CHECK((s.limit == 107 && s.engine == 107 * 4));
}
