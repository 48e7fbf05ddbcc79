// What the demo promises, on the models that ship.
#include <doctest/doctest.h>

#include <map>

#include "apps/demo_data.h"
#include "apps/demo_journey.h"
#include "models/checkpoint.h"
#include "test/temp_dir.h"
#include "train/data/worlds.h"
#include "train/eval/ngram.h"

using namespace sinter;
using namespace sinter::test;

TEST_CASE("the models that ship have learned more of their worlds than a trigram can: a loss at least 30 % below") {
  TempDir dir;
  std::string train, held;
  const auto known = make_worlds(kDemoTextSeed, 0, 20000), unseen = make_worlds(kDemoTextSeed, kHeldOutWorlds, 150);
  CHECK(shared_worlds(known, unseen) == 0);
  for (const auto& d : known) train += d;
  for (const auto& d : unseen) held += d;
  NullLog log;
  for (const std::string name : {"llama", "opt"}) {
    CAPTURE(name);
    const auto path = unpack_demo_model(name, dir.path());
    const auto tokenizer = Tokenizer::load(path);
    const auto model = load_model(path);
    const auto ids = tokenizer->encode(held);
    const double trigram = trigram_loss(tokenizer->encode(train), ids, int(model->config().vocab));
    CHECK(perplexity(*model, ids, {.seq_len = 256}, log).nll < 0.7 * trigram);
  }
}

TEST_CASE("prompts help where compression hurt: true perplexity falls, and a good part of the gap closes") {
  TempDir dir;
  const auto path = unpack_demo_model("llama", dir.path());
  const Journey j = demo_journey(path, *Tokenizer::load(path), 32);
  NullLog log;
  const double dense = measure(j, *load_model(path), {}, log).nll;
  for (const Setting& s : demo_llama_settings()) {
    if (s.name != "SparseGPT 75 %" && s.name != "GPTQ 2 bits" && s.name != "GPTQ 3 bits") continue;
    CAPTURE(s.name);
    const JourneyRow row = travel(j, s, log);
    CHECK(row.nll > dense);
    CHECK(row.ppl_prompt < row.ppl);
    if (s.name != "GPTQ 3 bits") CHECK(gap_closed(row, dense) > 0.15);
  }
}

TEST_CASE("SPP in the demo takes back most of what 2:4 with 4 bits costs, and merges with every zero in its place") {
  TempDir dir;
  const auto path = unpack_demo_model("llama", dir.path());
  Journey j = demo_journey(path, *Tokenizer::load(path), 32);
  j.steps = 20;
  j.held_out.resize(j.held_out.size() / 4);
  NullLog log;
  const double dense = measure(j, *load_model(path), {}, log).nll;
  const TunedRow row = tune(j, demo_spp_settings().back(), log);
  CHECK(row.setting.name == "SparseGPT 2:4 + 4 bits");
  CHECK(row.nll > dense);
  CHECK((row.nll - row.nll_spp) / (row.nll - dense) > 0.3);
  CHECK(row.ppl_merged < row.ppl);
  CHECK(row.zeros >= 0.5);
  CHECK(row.zeros_merged >= row.zeros);
}
