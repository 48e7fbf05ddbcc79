// sinter merge: adapters that finetune made, folded in; what it says and what it refuses.
#include "core/tensor_file.h"
#include "test/apps/ran.h"

using namespace sinter;
using namespace sinter::test;

namespace {

namespace fs = std::filesystem;

// The tiny model in several storage formats, and adapters that a few steps of finetune left; made once.
struct Adapted {
  TempDir dir;
  Adapted() {
    compress("sparse", {"--method", "magnitude", "--sparsity", "0.5"});
    compress("two_of_four", {"--method", "magnitude", "--pattern", "2:4"});
    compress("codes", {"--method", "rtn", "--bits", "4", "--group-size", "16"});
    compress("joint", {"--method", "sparsegpt", "--pattern", "2:4", "--bits", "4", "--group-size", "16",
                       "--calibration", tiny().text, "--samples", "4", "--seq-len", "32"});
    for (const char* model : {"sparse", "two_of_four", "joint"}) learn(model, "spp");
    for (const char* model : {"sparse", "codes", "dense"}) learn(model, "lora");
  }
  std::string path(const std::string& name) const { return name == "dense" ? tiny().model : (dir / name).string(); }
  std::string adapter(const std::string& model, const std::string& method) const {
    return path(model == "dense" ? "dense_" + method : model + "_" + method);
  }

 private:
  void compress(const std::string& name, std::vector<std::string> how) const {
    how.insert(how.begin(), {"compress", tiny().model, "--out", path(name)});
    run_json(how);
  }
  void learn(const std::string& model, const std::string& method) const {
    run_json({"finetune", path(model), "--method", method, "--rank", "4", "--data", tiny().text, "--steps", "20",
              "--lr", "0.1", "--seq-len", "16", "--batch", "2", "--out", adapter(model, method)});
  }
};

const Adapted& adapted() {
  static const Adapted a;
  return a;
}

double ppl(const std::string& model, const std::string& adapter = "") {
  std::vector<std::string> args{"perplexity", model, "--text", tiny().text, "--seq-len", "32"};
  if (!adapter.empty()) args.insert(args.end(), {"--adapter", adapter});
  return run_json(args)["ppl"];
}

std::vector<std::string> merge(const std::string& model, const std::string& method, const std::string& out,
                               const std::string& how = "") {
  std::vector<std::string> args{"merge", adapted().path(model), "--adapter", adapted().adapter(model, method), "--out",
                                out};
  if (!how.empty()) args.push_back(how);
  return args;
}

std::string format(const std::string& model) { return run_json({"info", model})["linears"][0]["format"]; }

}  // namespace

TEST_CASE("SPP merges into the same format with every zero, and the merged model is the adapted one") {
  for (const char* model : {"sparse", "two_of_four"}) {
    CAPTURE(model);
    const TempDir dir;
    const std::string out = (dir / "out").string(), adapter = adapted().adapter(model, "spp");
    const Ran ran = sinter_run(merge(model, "spp", out));
    CAPTURE(ran.err);
    REQUIRE(ran.code == 0);
    CHECK(ran.out.find("14 linears merged; every one of their ") != std::string::npos);
    CHECK(ran.out.find("written to " + out) != std::string::npos);
    CHECK(format(out) == format(adapted().path(model)));
    const double before = ppl(adapted().path(model)), with = ppl(adapted().path(model), adapter);
    CHECK(std::abs(with - before) > 1e-3 * before);  // it has learned something
    CHECK(ppl(out) == doctest::Approx(with).epsilon(1e-5));
    CHECK(read_text(out + "/tokenizer.model") == read_text(tiny().model + "/tokenizer.model"));
    CHECK_FALSE(fs::exists(out + ".partial"));
  }
}

TEST_CASE("the JSON of a merge counts zeros and rounding per linear") {
  const TempDir dir;
  const std::string out = (dir / "out").string();
  const Json json = run_json(merge("sparse", "spp", out));
  CHECK(json["out"] == out);
  CHECK(json["zeros"].get<std::int64_t>() > 0);
  CHECK(json["zeros_kept"] == json["zeros"]);
  CHECK(json["zeros_before"] == doctest::Approx(0.5).epsilon(0.01));
  CHECK(json["zeros_after"] == json["zeros_before"]);
  CHECK(json["worst_error"] == 0);  // the model stores f32
  REQUIRE(json["linears"].size() == 14);
  std::int64_t zeros = 0;
  for (const Json& l : json["linears"]) zeros += l["zeros"].get<std::int64_t>();
  CHECK(zeros == json["zeros"]);
}

TEST_CASE("a joint model merges into sparse values with the same zeros, or with --requantise into codes") {
  const TempDir dir;
  const std::string values = (dir / "values").string(), codes = (dir / "codes").string();
  const double with = ppl(adapted().path("joint"), adapted().adapter("joint", "spp"));
  const Json exact = run_json(merge("joint", "spp", values));
  CHECK(exact["zeros_kept"] == exact["zeros"]);
  CHECK(format(values) == "2:4 f32");
  CHECK(ppl(values) == doctest::Approx(with).epsilon(1e-5));
  const Json rounded = run_json(merge("joint", "spp", codes, "--requantise"));
  CHECK(rounded["zeros_kept"] == rounded["zeros"]);
  CHECK(rounded["worst_error"].get<double>() > 0);
  CHECK(rounded["worst_error"].get<double>() < 0.05);
  CHECK(format(codes) == format(adapted().path("joint")));
}

TEST_CASE("LoRA merges into dense weights; over zeros and codes only as it is told") {
  const TempDir dir;
  const auto out = [&](const char* name) { return (dir / name).string(); };
  const double dense = ppl(tiny().model, adapted().adapter("dense", "lora")),
               sparse = ppl(adapted().path("sparse"), adapted().adapter("sparse", "lora")),
               codes = ppl(adapted().path("codes"), adapted().adapter("codes", "lora"));
  run_json(merge("dense", "lora", out("dense")));
  CHECK(ppl(out("dense")) == doctest::Approx(dense).epsilon(1e-5));
  check_refused(merge("sparse", "lora", out("never")), 2,
                "is sparse and LoRA would fill its zeros: merge with --remask");
  check_refused(merge("codes", "lora", out("never")), 2, "is stored as codes");
  CHECK_FALSE(fs::exists(out("never")));
  CHECK_FALSE(fs::exists(out("never.partial")));
  const Json filled = run_json(merge("sparse", "lora", out("filled"), "--densify"));
  CHECK(filled["zeros_after"].get<double>() < 0.01);
  CHECK(ppl(out("filled")) == doctest::Approx(sparse).epsilon(1e-5));
  const Json remasked = run_json(merge("sparse", "lora", out("remasked"), "--remask"));
  CHECK(remasked["zeros_kept"] == remasked["zeros"]);
  CHECK(format(out("remasked")) == format(adapted().path("sparse")));
  run_json(merge("codes", "lora", out("plain"), "--dense"));
  CHECK(ppl(out("plain")) == doctest::Approx(codes).epsilon(1e-5));
  CHECK(run_json(merge("codes", "lora", out("again"), "--requantise"))["worst_error"].get<double>() > 0);
  CHECK(format(out("again")) == format(adapted().path("codes")));
}

TEST_CASE("what cannot be merged is refused by name and leaves nothing") {
  const TempDir dir;
  const std::string out = (dir / "out").string(), spp = adapted().adapter("sparse", "spp");
  check_refused({"merge", adapted().path("sparse"), "--out", out}, 2, "--adapter is missing");
  check_refused({"merge", adapted().path("sparse"), "--adapter", spp}, 2, "--out is missing");
  auto both = merge("codes", "lora", out, "--dense");
  both.emplace_back("--requantise");
  check_refused(both, 2, "--requantise and --dense exclude each other");
  both = merge("sparse", "lora", out, "--remask");
  both.emplace_back("--densify");
  check_refused(both, 2, "--remask and --densify exclude each other");
  check_refused({"merge", "/nonexistent", "--adapter", spp, "--out", out}, 3, "/nonexistent");
  check_refused({"merge", adapted().path("sparse"), "--adapter", "/nonexistent", "--out", out}, 3, "/nonexistent");
  check_refused({"merge", adapted().path("sparse"), "--adapter", spp, "--out", adapted().path("sparse")}, 2,
                "not empty");

  fs::copy(spp, dir / "bad");
  const std::string bad = (dir / "bad").string(), file = bad + "/adapter_model.safetensors";
  const auto refused = [&](int code, const std::string& part) {
    check_refused({"merge", adapted().path("sparse"), "--adapter", bad, "--out", out}, code, part);
  };
  fs::resize_file(file, fs::file_size(file) - 100);
  refused(3, "adapter_model.safetensors");
  NamedTensors tensors;
  const TensorFile whole(spp + "/adapter_model.safetensors");
  for (const auto& name : whole.names()) tensors.emplace_back(name, whole.tensor(name).clone());
  auto narrow = tensors;
  narrow[0].second = Tensor::zeros({3, 3}, DType::f32);
  write_tensors(file, narrow);
  refused(3, "has shape [3, 3]");
  auto infinite = tensors;
  for (std::size_t i : {0, 1}) infinite[i].second = Tensor::full(infinite[i].second.shape(), 1e30, DType::f32);
  write_tensors(file, infinite);
  refused(1, "not finite");
  fs::remove(file);
  refused(3, "adapter_model");
  CHECK_FALSE(fs::exists(out));
  CHECK_FALSE(fs::exists(out + ".partial"));
}
