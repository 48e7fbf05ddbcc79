// Adapters folded into the weights: what stays, what is rounded, what is refused.
#include "train/merge.h"

#include "test/train/frozen_models.h"
#include "train/adapt.h"

using namespace sinter;
using namespace sinter::test;

namespace {

using Kind = AdapterPlan::Kind;

NullLog silent;

std::unique_ptr<CausalLM> adapted(Family family, const Format& format, Kind kind) {
  auto model = tiny_model(family, format, 32);
  attach_adapters(*model, {kind, 4, 0.5, 0.05, ""}, 3);
  set_factors(*model);
  return model;
}

// Where a weight is a zero, with its sign.
enum class Zero : char { none, plus, minus };
std::vector<Zero> zeros(CausalLM& model) {
  std::vector<Zero> out;
  model.each_linear([&](const Linear& l) {
    const Tensor w = l.dense();
    for (const float v : w.data<float>())
      out.push_back(v != 0 ? Zero::none : std::signbit(v) ? Zero::minus : Zero::plus);
  });
  return out;
}

std::vector<std::string> tags(CausalLM& model) {
  std::vector<std::string> out;
  model.each_linear([&](const Linear& l) { out.push_back(l.frozen()->pack().tag); });
  return out;
}

std::vector<Tensor> merged_values(CausalLM& model) {
  std::vector<Tensor> out;
  model.each_linear([&](const Linear& l) { out.push_back(l.adapter()->merged(*l.frozen(), l.frozen()->all())); });
  return out;
}

std::int64_t count(const std::vector<Zero>& z) { return std::int64_t(z.size()) - std::ranges::count(z, Zero::none); }

// Every zero that was there is kept, and none came.
void check_kept(const std::vector<MergeReport>& reports, std::int64_t zeros) {
  std::int64_t before = 0, kept = 0, created = 0;
  for (const MergeReport& r : reports) before += r.zeros, kept += r.kept, created += r.created;
  CHECK(before == zeros);
  CHECK(kept == zeros);
  CHECK(created == 0);
}

// Part by part of each linear: the same tensor.
bool same_part(CausalLM& a, CausalLM& b, const std::string& part) {
  std::vector<Tensor> left, right;
  a.each_linear([&](const Linear& l) { left.push_back(l.frozen()->pack().parts.at(part)); });
  b.each_linear([&](const Linear& l) { right.push_back(l.frozen()->pack().parts.at(part)); });
  return same_parts(left, right);
}

// Of 3 bits at the most: 7 steps over a group's range of four to five σ, (5 / 7)² / 12 of the variance.
constexpr double kCoarsest = 0.05;

}  // namespace

TEST_CASE(
    "merging keeps format and zeros bit for bit, and gives the unmerged logits: SPP over sparse, LoRA over dense") {
  struct Row {
    Format format;
    Kind kind;
    DType type;
  };
  std::vector<Row> rows;
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    for (const Kind kind : {Kind::spp, Kind::lora}) rows.push_back({dense_format(type), kind, type});
    for (const KeptPattern p : kPatterns) rows.push_back({sparse_format(p, type), Kind::spp, type});
  }
  for (const Family family : kFamilies)
    for (const Row& row : rows) {
      CAPTURE(int(family));
      CAPTURE(row.format.name);
      const auto model = adapted(family, row.format, row.kind);
      const auto before = zeros(*model);
      const auto format = tags(*model);
      const Tensor with = logits(*model);
      const auto exact = merged_values(*model);
      const auto reports = merge_adapters(*model, {}, silent);
      check_kept(reports, count(before));
      CHECK(zeros(*model) == before);
      CHECK(tags(*model) == format);
      // f32 sums in another order; f16 and bf16 round every weight by up to 2^-12 and 2^-9 of itself.
      const double rounding = row.type == DType::f16 ? 0x1p-12 : 0x1p-9;
      CHECK(relative(logits(*model), with) < (row.type == DType::f32 ? 1e-5 : rounding * double(format.size())));
      std::size_t k = 0;
      model->each_linear([&](const Linear& l) {
        CHECK(same_bits(l.dense(), cast(cast(exact[k++], row.type), DType::f32)));
        CHECK(l.adapter() == nullptr);
      });
      for (const MergeReport& r : reports) CHECK((row.type == DType::f32 ? r.error == 0 : r.error < 0x1p-16));
    }
}

TEST_CASE("joint weights take SPP as sparse values of the same mask, or again as codes with the error reported") {
  for (const Family family : kFamilies)
    for (const KeptPattern p : kPatterns)
      for (const Codes codes : {Codes{4}, Codes{3, true}, Codes{4, false, true}}) {
        const Format format = joint_format(p, codes);
        CAPTURE(int(family));
        CAPTURE(format.name);
        const auto original = tiny_model(family, format, 32);
        for (const DType store : {DType::f32, DType::bf16}) {
          const auto model = adapted(family, format, Kind::spp);
          const Tensor with = logits(*model);
          check_kept(merge_adapters(*model, {.store = store}, silent), count(zeros(*original)));
          CHECK(zeros(*model) == zeros(*original));
          CHECK(tags(*model) == tags(*original));
          CHECK(same_part(*model, *original, "mask"));
          CHECK(relative(logits(*model), with) < (store == DType::f32 ? 1e-5 : 0x1p-9 * double(tags(*model).size())));
          model->each_linear([&](const Linear& l) { CHECK(l.frozen()->pack().parts.at("values").dtype() == store); });
        }
        const auto again = adapted(family, format, Kind::spp);
        const auto exact = merged_values(*again);
        const auto reports = merge_adapters(*again, {.requantise = true}, silent);
        const auto old = zeros(*original), now = zeros(*again);
        CHECK(std::ranges::equal(old, now, [](Zero a, Zero b) { return a == Zero::none || a == b; }));
        CHECK(same_part(*again, *original, "mask"));
        if (codes.order) CHECK(same_part(*again, *original, "group_of"));
        std::size_t k = 0;
        again->each_linear([&](const Linear& l) {
          const MergeReport& r = reports[k];
          CHECK(r.kept == r.zeros);
          CHECK(r.error > 1e-6);
          CHECK(r.error < kCoarsest);
          CHECK(r.error == doctest::Approx(nmse(l.dense(), exact[k++])).epsilon(1e-6));
        });
      }
}

TEST_CASE("LoRA over codes: kept beside, made dense, or rounded to codes of the same kind with the error reported") {
  for (const Family family : kFamilies)
    for (const Codes codes : {Codes{4}, Codes{8, true}, Codes{3, false, true}}) {
      const Format format = code_format(codes);
      CAPTURE(format.name);
      const auto original = tiny_model(family, format, 32);
      const auto refused = adapted(family, format, Kind::lora);
      CHECK_THROWS_TEXT(usage, "q_proj: is stored as codes", merge_adapters(*refused, {}, silent));
      CHECK(same_parts(packed_parts(*refused), packed_parts(*original)));
      refused->each_linear([](const Linear& l) { CHECK(l.adapter() != nullptr); });

      const auto dense = adapted(family, format, Kind::lora);
      const Tensor with = logits(*dense);
      (void)merge_adapters(*dense, {.dense = true}, silent);
      CHECK(relative(logits(*dense), with) < 1e-5);

      const auto again = adapted(family, format, Kind::lora);
      const auto exact = merged_values(*again);
      const auto reports = merge_adapters(*again, {.requantise = true}, silent);
      CHECK(tags(*again) == tags(*original));
      if (codes.order) CHECK(same_part(*again, *original, "order"));
      std::size_t k = 0;
      again->each_linear([&](const Linear& l) {
        const double error = reports[k].error;
        CHECK(error > 1e-7);
        CHECK(error < kCoarsest);
        CHECK(error == doctest::Approx(nmse(l.dense(), exact[k++])).epsilon(1e-6));
      });
      if (codes.bits == 8) CHECK(nmse(logits(*again), with) < 1e-3);
    }
}

TEST_CASE("LoRA over sparse weights: refused, masked again (LoRA*) with the same zeros, or let to fill them") {
  for (const Family family : kFamilies)
    for (const Format& format : {sparse_format({0, 0}, DType::f32), sparse_format({2, 4}, DType::bf16)}) {
      const auto original = tiny_model(family, format, 32);
      CHECK_THROWS_TEXT(usage, "q_proj: is sparse and LoRA would fill its zeros: merge with --remask",
                        merge_adapters(*adapted(family, format, Kind::lora), {}, silent));
      const auto masked = adapted(family, format, Kind::lora);
      auto exact = merged_values(*masked);
      check_kept(merge_adapters(*masked, {.remask = true}, silent), count(zeros(*original)));
      CHECK(zeros(*masked) == zeros(*original));
      CHECK(tags(*masked) == tags(*original));
      CHECK(same_part(*masked, *original, "mask"));
      std::size_t k = 0;
      masked->each_linear([&](const Linear& l) {
        const Tensor w = l.dense(), &full = exact[k++];
        CHECK(std::ranges::equal(w.data<float>(), full.data<float>(),
                                 [](float a, float b) { return a == 0 || std::abs(a / b - 1) < 0x1p-8f; }));
      });

      const auto filled = adapted(family, format, Kind::lora);
      const Tensor with = logits(*filled);
      const auto reports = merge_adapters(*filled, {.densify = true}, silent);
      CHECK(relative(logits(*filled), with) < 0x1p-9 * double(reports.size()));
      for (const MergeReport& r : reports) CHECK(r.kept < r.zeros);
      for (const auto& tag : tags(*filled)) CHECK(tag == "dense");
    }
}

TEST_CASE("LoRA* over joint weights goes into codes again, or into sparse values as asked") {
  const Format format = joint_format({2, 4}, {4});
  for (const Family family : kFamilies) {
    const auto original = tiny_model(family, format, 32);
    CHECK_THROWS_TEXT(usage, "--requantise",
                      merge_adapters(*adapted(family, format, Kind::lora), {.remask = true}, silent));
    CHECK_THROWS_TEXT(usage, "--remask",
                      merge_adapters(*adapted(family, format, Kind::lora), {.requantise = true}, silent));
    const auto again = adapted(family, format, Kind::lora);
    for (const MergeReport& r : merge_adapters(*again, {.requantise = true, .remask = true}, silent))
      CHECK((r.kept == r.zeros && r.error > 1e-6 && r.error < kCoarsest));
    CHECK(same_part(*again, *original, "mask"));
    CHECK(tags(*again) == tags(*original));
  }
}

TEST_CASE(
    "a zero keeps its sign, a weight that the type rounds to zero is counted, one that it cannot hold is refused") {
  Tensor values = Tensor::full({4, 8}, 0.5, DType::f32);
  for (const std::int64_t i : {1, 9, 20}) values.mutable_data<float>()[i] = -0.f;
  values.mutable_data<float>()[2] = 0x1p-24f;  // f16's smallest
  const auto merged = [&](Kind kind, float first, float second) {
    auto model = tiny_model(Family::llama, dense_format(DType::f32), 8);
    model->each_linear([&](Linear& l) {
      if (l.name() == "model.layers.0.self_attn.k_proj") l.replace(freeze_dense(cast(values, DType::f16)));
    });
    attach_adapters(*model, {kind, 2, 1, 0, "layers.0.self_attn.k_proj"}, 3);
    model->each_linear([&](Linear& l) {
      float value = first;
      l.each_param(
          [&](Param& p) { p.assign(Tensor::full(p.value().shape(), std::exchange(value, second), DType::f32)); });
    });
    const auto report = merge_adapters(*model, {.remask = kind == Kind::lora}, silent).at(0);
    const auto all = zeros(*model);
    for (const std::size_t i : {1, 9, 20}) CHECK(all[8 * 8 + i] == Zero::minus);  // k_proj follows q_proj
    CHECK(report.zeros == 3);
    CHECK(report.kept == 3);
    return report;
  };
  CHECK(merged(Kind::spp, 0.5f, 0.5f).created == 0);
  CHECK(merged(Kind::spp, 0.9f, -0.9f).created == 1);  // w − 0.81·w is less than half of f16's smallest
  CHECK(merged(Kind::lora, 0.5f, 0.5f).created == 0);
  CHECK_THROWS_CODE(numeric, merged(Kind::spp, 1e3f, 1e3f));
}

TEST_CASE("a model without an adapter has nothing to merge") {
  const auto model = tiny_model(Family::llama, dense_format(DType::f32));
  CHECK_THROWS_TEXT(usage, "no adapter", merge_adapters(*model, {}, silent));
}
