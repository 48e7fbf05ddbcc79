#pragma once
#include "test/check.h"
#include "train/compress/pipeline.h"

// What the tests of whole compressions begin with.
namespace sinter::test {

// Random ids below 97, the vocabulary of the golden models.
inline Windows windows(std::int64_t count = 9, std::int64_t length = 16) {
  Windows w;
  for (std::int64_t i = 0; i < count; ++i) {
    w.emplace_back();
    for (std::int64_t t = 0; t < length; ++t)
      w.back().push_back(std::int32_t(Rng{kSeed, 80}.below(std::uint64_t(i * length + t), 97)));
  }
  return w;
}

inline CompressPlan plan_of(const char* method, MethodOptions o = {}, Sparsity s = Unpruned{}) {
  CompressPlan p;
  p.method = make_method(method, std::move(o));
  p.sparsity = s;
  return p;
}

}  // namespace sinter::test
