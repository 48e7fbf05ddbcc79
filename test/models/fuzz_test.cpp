// The mutations that fuzz_mutations runs by the million, in a number that every run can afford.
#include <doctest/doctest.h>

#include "test/fuzz/interchange_targets.h"
#include "test/fuzz/model_targets.h"

using namespace sinter::fuzz;

namespace {

constexpr std::uint64_t kFirst = 2'000'000;  // others than fuzz_mutations begins with

void attack(const Suite& suite, std::uint64_t count) {
  for (const auto& sample : suite.samples) CHECK(suite.target(sample) == Outcome::loaded);
  const Tally tally = run_mutations(suite, kFirst, count);
  CHECK(tally.loaded > 0);
  CHECK(tally.refused > 0);
  CHECK(tally.loaded + tally.refused == count);
}

}  // namespace

TEST_CASE("a hundred thousand mutations of config.json end in a configuration or an error") {
  attack(config_suite(), 100'000);
}
TEST_CASE("a hundred thousand mutations of packed weights end in a product or an error") {
  attack(packed_suite(), 100'000);
}
TEST_CASE("a hundred thousand mutations of the parts of weights end in a product or an error") {
  attack(weight_suite(), 100'000);
}
TEST_CASE("mutations of a SentencePiece model end in a tokenizer that works or an error") {
  attack(sentencepiece_suite(), 20'000);
}
TEST_CASE("mutations of a tokenizer.json end in a tokenizer that works or an error") {
  attack(tokenizer_json_suite(), 20'000);
}
TEST_CASE("mutations of vocab.json and the files beside it end in a tokenizer that works or an error") {
  attack(vocabulary_suite(), 5'000);
}
TEST_CASE("mutations of a zip archive end in members that lie apart or an error") { attack(zip_suite(), 100'000); }
TEST_CASE("mutations of the pickle of a .bin end in tensors or an error") { attack(pickle_suite(), 10'000); }
TEST_CASE("mutations of GPTQ, AWQ and compressed-tensors end in a weight or an error") {
  attack(foreign_suite(), 10'000);
}
TEST_CASE("mutations of a GGUF file end in a model or an error") { attack(gguf_suite(), 10'000); }
