// sinter worlds: the seeded text that the demo's models are trained and measured on.
#include "train/data/worlds.h"

#include <nlohmann/json.hpp>

#include "apps/command.h"
#include "apps/commands.h"

namespace sinter {
namespace {

class Worlds final : public Command {
 public:
  void declare(Flags& f) override {
    f.option("--out", "F", &out_, ".jsonl: one document per line; any other name: plain text").alias("-o").required();
    f.option("--count", "N", &count_, "Documents to write").alias("-n").required();
    f.option("--first", "I", &first_, "Index of the first document in the stream that --seed names (default 0)");
    f.flag("--held-out", held_out_, "From the held-out side, none of whose texts can occur in training");
  }

  void check() const override {
    require(count_ > 0, ErrorCode::usage, "--count", "expected 1 or more, found ", count_);
    require(first_ >= 0 && first_ < std::int64_t(kHeldOutWorlds), ErrorCode::usage, "--first", "expected 0 to ",
            kHeldOutWorlds - 1, ", found ", first_);
  }

  Json run(Session& s) override {
    write_worlds(out_, s.seed, std::uint64_t(first_) + (held_out_ ? kHeldOutWorlds : 0), count_, s.log);
    s.out << count_ << (held_out_ ? " held-out" : "") << " documents written to " << out_ << "\n";
    return {{"out", out_}, {"count", count_}, {"first", first_}, {"held_out", held_out_}, {"seed", s.seed}};
  }

 private:
  std::string out_;
  std::int64_t count_ = 0, first_ = 0;
  bool held_out_ = false;
};

}  // namespace

std::unique_ptr<Command> make_worlds_text() { return std::make_unique<Worlds>(); }

}  // namespace sinter
