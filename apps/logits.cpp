// sinter logits: one forward pass over given ids.
#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"
#include "apps/healed_model.h"
#include "apps/parts.h"
#include "core/file.h"
#include "core/tensor_file.h"
#include "ops/concat.h"

namespace sinter {
namespace {

// [T, V] f32: rows of the prompt [k, w] are not among them.
Tensor forward(const CausalLM& model, std::span<const std::int32_t> ids, const Tensor& prompt, Compute compute) {
  const Context ctx{.compute = compute};
  const std::int64_t k = prompt ? prompt.shape()[0] : 0, n = k + std::int64_t(ids.size());
  Var e = model.embed(ctx, ids);
  if (k > 0) e = concat_rows(std::array{Var(prompt), e});
  const Layout layout = Layout::one(n, 0);
  const Var h = model.run(ctx, model.enter(ctx, e, layout), model.all(), layout);
  return model.logits(ctx, h.value().rows(k, n)).value();
}

class Logits final : public Command {
 public:
  void declare(Flags& f) override {
    healed_.declare(f);
    f.option("--ids", "1,2,3", &ids_, "The token ids");
    f.option("--ids-file", "F.json", &file_, "A JSON list of ids, or what tokenize --json writes");
    f.option("--out", "F.safetensors", &out_, "Tensor logits [T, V] f32, without rows for the prompt")
        .alias("-o")
        .required();
  }

  void check() const override {
    require(ids_.has_value() != file_.has_value(), ErrorCode::usage, "logits",
            "needs exactly one of --ids and --ids-file");
  }

  Json run(Session& s) override {
    auto ids = ids_ ? parse_ids("--ids", *ids_) : std::vector<std::int32_t>();
    const auto [model, prompt] = healed_.load(s.log);
    if (file_) ids = read_ids(*file_);
    check_ids(ids, model->config().vocab, file_ ? ErrorCode::input : ErrorCode::usage, file_ ? *file_ : "--ids");
    const std::int64_t k = prompt ? prompt.shape()[0] : 0, limit = model->config().max_positions,
                       T = std::int64_t(ids.size());
    require(T + k <= limit, ErrorCode::usage, "logits", T, " ids and ", k, " prompt rows exceed the model's ", limit,
            " positions");
    check_output_file(out_);
    const Tensor z = forward(*model, ids, prompt, s.compute);
    write_tensors(out_, {{"logits", z}});
    s.out << "logits " << z.shape() << " written to " << out_ << "\n";
    return {{"out", out_}, {"shape", {z.shape()[0], z.shape()[1]}}};
  }

 private:
  HealedModel healed_;
  std::string out_;
  std::optional<std::string> ids_, file_;
};

}  // namespace

std::unique_ptr<Command> make_logits() { return std::make_unique<Logits>(); }

}  // namespace sinter
