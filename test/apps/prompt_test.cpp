// Soft prompts from the command line: several lengths, the transfer matrix, baking, prompts in words.
#include <cmath>

#include "core/tensor_file.h"
#include "test/apps/ran.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

std::vector<std::string> learning(const std::string& tokens, const std::string& out, const std::string& steps = "4") {
  return {"prompt", tiny().model, "--data", tiny().text, "--validation", tiny().jsonl,   "--out", out,    "--tokens",
          tokens,   "--seq-len",  "20",     "--steps",   steps,          "--eval-every", "2",     "--lr", "0.1"};
}

std::string learned(const fs::path& out, const std::string& tokens = "4") {
  REQUIRE(sinter_run(learning(tokens, out.string())).code == 0);
  return out.string();
}

}  // namespace

TEST_CASE("sub-commands of two words stand beside the one of their first word") {
  const Ran prompt = sinter_run({"prompt", "--help"}), transfer = sinter_run({"prompt", "transfer", "--help"});
  CHECK(prompt.out.find("sinter prompt transfer  ") != std::string::npos);
  CHECK(prompt.out.find("sinter prompt bake ") != std::string::npos);
  CHECK(transfer.out.find("--models") != std::string::npos);
  CHECK(transfer.out.find("--warmup") == std::string::npos);
  check_refused({"prompt", "transfer"}, 2, "prompt transfer: --");
  check_refused({"prompt", "bake"}, 2, "prompt bake: MODEL is missing");
  check_refused({"prompt", "./transfer", "--data", "f", "--out", "p.safetensors"}, 3, "./transfer");  // a MODEL
}

TEST_CASE("a list of lengths learns one prompt of each and shows them as a table") {
  const TempDir dir;
  const auto args = learning("2,6", (dir / "p{k}.safetensors").string());
  const Json json = run_json(args);
  REQUIRE(json["runs"].size() == 2);
  CHECK(json["runs"][1]["tokens"] == 6);
  CHECK(json["runs"][1]["out"] == (dir / "p6.safetensors").string());
  CHECK(TensorFile(dir / "p2.safetensors").tensor("prompt_embeddings").shape() == Shape{2, 32});
  const double nll = json["runs"][1]["nll"];
  CHECK(json["runs"][1]["ppl_paper"].get<double>() == doctest::Approx(std::exp(nll * 19 / 25)).epsilon(1e-12));
  const Json alone = run_json(learning("6", (dir / "alone.safetensors").string()));
  CHECK(alone["ppl"] == json["runs"][1]["ppl"]);

  auto again = args;
  again.emplace_back("--resume");  // both are there: nothing is learned again
  const auto before = fs::last_write_time(dir / "p2.safetensors");
  const Ran shown = sinter_run(again);
  CHECK(shown.code == 0);
  CHECK(shown.out.find("p6.safetensors") != std::string::npos);
  CHECK(fs::last_write_time(dir / "p2.safetensors") == before);
  CHECK(run_json(again)["runs"][1]["ppl"].get<double>() == doctest::Approx(std::exp(nll)).epsilon(1e-5));

  check_refused(learning("2,6", (dir / "p.safetensors").string()), 2, "{k}");
  check_refused(learning("2,2", (dir / "p{k}").string()), 2, "occurs twice");
  check_refused(learning("0", (dir / "p").string()), 2, "--tokens");
  check_refused(learning("45", (dir / "p").string()), 2, "64 positions");
}

TEST_CASE("prompts start as rows of the embedding: random ones, the first, or those of a text") {
  const TempDir dir;
  const Tensor words = TensorFile(tiny().model + "/model.safetensors").tensor("model.embed_tokens.weight");
  const auto start = [&](const std::string& init) {
    const fs::path out = dir / (init.substr(0, 4) + ".safetensors");
    auto args = learning("5", out.string(), "1");
    args.insert(args.end(), {"--init", init, "--lr", "1e-30"});
    args.erase(std::ranges::find(args, "0.1") - 1, std::ranges::find(args, "0.1") + 1);
    REQUIRE(sinter_run(args).code == 0);
    return TensorFile(out).tensor("prompt_embeddings").clone();
  };
  const auto row_of = [&](const Tensor& prompt, std::int64_t i) {
    for (std::int64_t v = 0; v < 400; ++v)
      if (distance(prompt.rows(i, i + 1), words.rows(v, v + 1)) == 0) return v;
    return std::int64_t(-1);
  };
  const Tensor first = start("first"), text = start("text:Anna ate noodles"), random = start("random");
  const Json ids = run_json({"tokenize", tiny().model, "--text", "Anna ate noodles", "--no-special"})["ids"];
  for (std::int64_t i = 0; i < 5; ++i) {
    CHECK(row_of(first, i) == i);
    CHECK(row_of(text, i) == ids[std::size_t(i) % ids.size()].get<std::int64_t>());
    CHECK(row_of(random, i) >= 0);
  }
  auto wrong = learning("5", (dir / "p").string());
  wrong.insert(wrong.end(), {"--init", "zeros"});
  check_refused(wrong, 2, "random, first or text:S");
}

TEST_CASE("a prompt in words is measured like a soft prompt of the same embeddings, by both divisors") {
  const TempDir dir;
  const std::string words = "Anna ate noodles", file = (dir / "w.safetensors").string();
  const Json ids = run_json({"tokenize", tiny().model, "--text", words, "--no-special"})["ids"];
  const Tensor table = TensorFile(tiny().model + "/model.safetensors").tensor("model.embed_tokens.weight");
  Tensor rows = Tensor::empty({std::int64_t(ids.size()), 32}, DType::f32);
  for (std::size_t i = 0; i < ids.size(); ++i)
    std::ranges::copy(table.rows(ids[i], ids[i].get<std::int64_t>() + 1).data<float>(),
                      rows.mutable_data<float>().begin() + std::ptrdiff_t(i * 32));
  write_tensors(file, {{"prompt_embeddings", rows}});
  const std::vector<std::string> measure{"perplexity", tiny().model, "--text", tiny().jsonl, "--seq-len", "24"};
  auto hard = measure, soft = measure;
  hard.insert(hard.end(), {"--hard-prompt", words});
  soft.insert(soft.end(), {"--soft-prompt", file});
  const Json h = run_json(hard), s = run_json(soft);
  CHECK(h["ppl"] == s["ppl"]);
  CHECK(h["prompt_tokens"] == ids.size());
  const double k = double(ids.size());
  CHECK(h["ppl_paper"].get<double>() == doctest::Approx(std::pow(h["ppl"].get<double>(), 23 / (23 + k))).epsilon(1e-9));
  CHECK(h["ppl"] != run_json(measure)["ppl"]);

  const std::vector<std::string> go_on{"generate", tiny().model, "--prompt", "The", "--max-new-tokens", "6"};
  hard = soft = go_on;
  hard.insert(hard.end(), {"--hard-prompt", words});
  soft.insert(soft.end(), {"--soft-prompt", file});
  CHECK(run_json(hard)["ids"] == run_json(soft)["ids"]);
  soft.insert(soft.end(), {"--hard-prompt", words});
  check_refused(soft, 2, "exclude each other");
  hard.back() = "";
  CHECK(run_json(hard)["ids"] == run_json(go_on)["ids"]);
}

TEST_CASE("the transfer matrix as a table and as JSON; a resumed one measures nothing twice") {
  const TempDir dir;
  const std::string p = learned(dir / "p.safetensors"), out = (dir / "m.json").string();
  fs::copy(tiny().model, dir / "same");
  const std::vector<std::string> args{
      "prompt",       "transfer",  "--models",  "dense=" + tiny().model + "," + (dir / "same").string(),
      "--prompts",    "75 %=" + p, "--data",    "worlds=" + tiny().jsonl,
      "--data",       tiny().text, "--seq-len", "24",
      "--max-chunks", "3"};
  const Json json = run_json(args);
  REQUIRE(json["cells"].size() == 8);
  CHECK(json["cells"][0]["target"] == "dense");
  CHECK(json["cells"][7]["target"] == "same");  // the last part of its path
  CHECK(json["cells"][7]["data"] == "text.txt");
  CHECK(json["cells"][7]["ppl"] == json["cells"][3]["ppl"]);
  const Json alone = run_json(
      {"perplexity", tiny().model, "--text", tiny().jsonl, "--seq-len", "24", "--max-chunks", "3", "--soft-prompt", p});
  for (const char* key : {"ppl", "ppl_paper", "nll", "scored_tokens"}) CHECK(json["cells"][1][key] == alone[key]);

  auto saved = args;
  saved.insert(saved.end(), {"--out", out});
  const Ran shown = sinter_run(saved);
  CHECK(shown.code == 0);
  char cell[80];
  std::snprintf(cell, sizeof cell, "%.3f (%.3f)", alone["ppl"].get<double>(), alone["ppl_paper"].get<double>());
  CHECK(shown.out.find("\n75 %  ") != std::string::npos);
  CHECK(shown.out.find(cell) != std::string::npos);
  CHECK(read_json(out) == json);
  check_refused(saved, 2, "--resume");
  saved.emplace_back("--resume");
  const Ran resumed = sinter_run(saved);
  CHECK(resumed.out == shown.out);
  CHECK(resumed.err.find("8 of 8 cells are in") != std::string::npos);
  write(out, "[]");
  check_refused(saved, 3, "m.json");
  check_refused({"prompt", "transfer", "--models", "a=,", "--data", tiny().text}, 2, "NAME=PATH");
}

TEST_CASE("a baked model keeps its packed linears and says with plain text what the soft prompt makes it say") {
  const TempDir dir;
  const std::string small = (dir / "small").string(), p = (dir / "p.safetensors").string(),
                    baked = (dir / "baked").string();
  REQUIRE(sinter_run({"compress", tiny().model, "--out", small, "--method", "rtn", "--bits", "4", "--group-size", "16"})
              .code == 0);
  auto args = learning("3", p);
  args[1] = small;
  REQUIRE(sinter_run(args).code == 0);
  const Json json = run_json({"prompt", "bake", small, "--soft-prompt", p, "--out", baked});
  CHECK(json["vocab_size"] == 448);  // 400 and 3, in steps of 64
  CHECK(json["prefix"] == "<sp_0><sp_1><sp_2><s>");
  CHECK(json["own_head"] == true);
  const TensorFile before(small + "/model.safetensors"), after(baked + "/model.safetensors");
  CHECK(after.metadata().at("sinter.weights") == before.metadata().at("sinter.weights"));
  for (const auto& name : before.names())
    if (name.find("embed_tokens") == std::string::npos) CHECK(same_bits(after.tensor(name), before.tensor(name)));
  const std::string prefix = json["prefix"];
  const Json soft = run_json({"generate", small, "--prompt", "Anna", "--soft-prompt", p, "--max-new-tokens", "8"});
  const Json text = run_json({"generate", baked, "--prompt", prefix + "Anna", "--no-special", "--max-new-tokens", "8"});
  CHECK(text["ids"] == soft["ids"]);
  CHECK(text["text"] == soft["text"]);
  check_refused({"prompt", "bake", small, "--soft-prompt", p, "--out", baked}, 2, "baked");
  check_refused({"prompt", "bake", small, "--soft-prompt", tiny().text, "--out", (dir / "b").string()}, 3, "text.txt");
  CHECK_FALSE(fs::exists(dir / "b"));
  CHECK_FALSE(fs::exists(dir / "b.partial"));
}
