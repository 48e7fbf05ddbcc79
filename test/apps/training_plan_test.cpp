#include "apps/training_plan.h"

#include "apps/memory_limit.h"
#include "test/apps/ran.h"
#include "test/check.h"

using namespace sinter;
using namespace sinter::test;
namespace fs = std::filesystem;

namespace {

void write_config(const fs::path& dir, std::int64_t hidden, std::int64_t ffn, std::int64_t layers,
                  std::int64_t kv_heads) {
  fs::create_directories(dir);
  const Json config{{"model_type", "llama"},           {"vocab_size", 32000},
                    {"hidden_size", hidden},           {"intermediate_size", ffn},
                    {"num_hidden_layers", layers},     {"num_attention_heads", hidden / 128},
                    {"num_key_value_heads", kv_heads}, {"max_position_embeddings", 2048},
                    {"tie_word_embeddings", false}};
  write(dir / "config.json", config.dump());
}

std::vector<std::string> prompt(const std::string& out, std::vector<std::string> more) {
  std::vector<std::string> args{"prompt", tiny().model, "--tokens", "4", "--seq-len", "40", "--batch", "4"};
  if (!out.empty()) args.insert(args.end(), {"--data", tiny().text, "--out", out, "--steps", "2"});
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

}  // namespace

TEST_CASE("--dry-run counts and estimates from config.json alone") {
  const TempDir dir;
  write_config(dir / "7b", 4096, 11008, 32, 32);
  write_config(dir / "70b", 8192, 28672, 80, 8);
  const auto plan = [&](const std::string& model, const std::string& method, std::vector<std::string> more) {
    std::vector<std::string> args{"finetune", (dir / model).string(), "--method", method, "--dry-run", "--batch", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return run_json(args);
  };
  const Json dense = plan("7b", "spp", {"--max-memory", "1T"}),
             joint = plan("7b", "spp", {"--pattern", "2:4", "--bits", "4", "--group-size", "128", "--steps", "10"});
  CHECK(dense["parameters"] == 19578880);
  CHECK(joint["parameters"] == 19578880);
  CHECK(plan("7b", "lora", {})["parameters"] == 19988480);
  CHECK(plan("70b", "spp", {})["parameters"] == 106332160);
  const double weights = dense["linear_weights"];
  CHECK(weights == 32. * (4 * 4096 * 4096 + 3 * 4096 * 11008));
  const auto bytes_of_linears = [](const Json& j) { return j["held"][0]["bytes"].get<double>(); };
  CHECK(bytes_of_linears(dense) == 2 * weights);
  CHECK(bytes_of_linears(joint) == (1 + 2 + 24. / 128) / 8 * weights);  // mask, codes of half, grids
  CHECK(dense["memory_bytes_plain"].get<double>() - joint["memory_bytes_plain"].get<double>() ==
        doctest::Approx(2 * weights - bytes_of_linears(joint)));
  CHECK(dense["grad_checkpoint"] == false);  // its activations take less than its weights
  CHECK(joint["grad_checkpoint"] == true);
  CHECK(joint["seconds"].get<double>() == doctest::Approx(10 * joint["seconds_per_update"].get<double>()));
  check_refused({"finetune", (dir / "7b").string(), "--method", "spp", "--dry-run", "--bits", "5"}, 2, "--bits");
  check_refused({"finetune", (dir / "7b").string(), "--method", "spp", "--dry-run", "--rank", "17"}, 2,
                "does not divide");
}

TEST_CASE("activations are checkpointed where memory asks for it, with the same result") {
  const TempDir dir;
  const Json plan = run_json(prompt("", {"--dry-run"}));
  CHECK(plan["parameters"] == 4 * 32);
  const double plain = plan["memory_bytes_plain"], less = plan["memory_bytes_checkpointed"];
  CHECK(less < plain);
  const auto limit = [](double bytes) { return std::to_string(std::int64_t(bytes)); };
  const std::string a = (dir / "a.safetensors").string(), b = (dir / "b.safetensors").string(),
                    c = (dir / "c.safetensors").string();
  const Json free = run_json(prompt(a, {})), tight = run_json(prompt(b, {"--max-memory", limit((plain + less) / 2)})),
             forced = run_json(prompt(c, {"--grad-checkpoint"}));
  CHECK(free["grad_checkpoint"] == false);
  CHECK(tight["grad_checkpoint"] == true);
  CHECK(forced["grad_checkpoint"] == true);
  CHECK(free["memory_bytes"] == plain);
  CHECK(tight["memory_bytes"] == less);
  CHECK(tight["peak_rss_bytes"] > 1000000);
  CHECK(test::same_bits(TensorFile(a).tensor("prompt_embeddings"), TensorFile(b).tensor("prompt_embeddings")));
  CHECK(test::same_bits(TensorFile(a).tensor("prompt_embeddings"), TensorFile(c).tensor("prompt_embeddings")));

  const std::string d = (dir / "d.safetensors").string();
  check_refused(prompt(d, {"--max-memory", limit(less / 2)}), 2, "are needed");
  check_refused(prompt(d, {"--no-grad-checkpoint", "--max-memory", limit((plain + less) / 2)}), 2,
                "--grad-checkpoint takes less");
  check_refused(prompt(d, {"--grad-checkpoint", "--no-grad-checkpoint"}), 2, "exclude each other");
  check_refused(prompt(d, {"--max-memory", "much"}), 2, "--max-memory");
  check_refused(prompt(d, {"--bits", "4"}), 2, "--dry-run");
  CHECK_FALSE(fs::exists(d));
}

TEST_CASE("the memory that there is: what the system can free, or what a control group leaves") {
  const TempDir dir;
  const auto file = [&](const std::string& name, const std::string& text) {
    fs::create_directories((dir / name).parent_path());
    write(dir / name, text);
  };
  CHECK(std::isinf(available_bytes(dir.path())));
  file("proc/meminfo", "MemTotal:       2000 kB\nMemAvailable:    1000 kB\n");
  CHECK(available_bytes(dir.path()) == 1024000);
  file("proc/self/cgroup", "0::/a/b\n");
  file("sys/fs/cgroup/a/memory.max", "max\n");
  file("sys/fs/cgroup/a/memory.current", "5000\n");
  file("sys/fs/cgroup/a/b/memory.max", "900000\n");
  file("sys/fs/cgroup/a/b/memory.current", "500000\n");
  CHECK(available_bytes(dir.path()) == 400000);
  file("sys/fs/cgroup/a/b/memory.stat", "anon 7\ninactive_file 100000\n");
  CHECK(available_bytes(dir.path()) == 500000);
  file("sys/fs/cgroup/a/memory.max", "105000\n");  // the group above leaves less
  CHECK(available_bytes(dir.path()) == 100000);
  file("sys/fs/cgroup/a/memory.max", "1000\n");
  CHECK(available_bytes(dir.path()) == 0);

  file("proc/self/cgroup", "9:cpu:/x\n4:memory:/host/only\n");  // a path of the host: the top is the group
  file("sys/fs/cgroup/memory/memory.limit_in_bytes", "300000\n");
  file("sys/fs/cgroup/memory/memory.usage_in_bytes", "100000\n");
  file("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 50\n");
  CHECK(available_bytes(dir.path()) == 200050);
  CHECK(parse_bytes("--x", "2K") == 2048);
  CHECK(parse_bytes("--x", "1.5GiB") == 1.5 * 1024 * 1024 * 1024);
  CHECK(available_bytes() > 0);
}
