#pragma once
#include <filesystem>
#include <memory>
#include <optional>

#include "core/json.h"
#include "models/block_file.h"
#include "train/compress/report.h"
#include "train/data/text.h"

namespace sinter {

// What a compression leaves on disk as it goes, so that a later run can take it up at the next block and end with the
// same bytes: a file of each finished block, and manifest.json, replaced atomically after each block.
//
// manifest.json: "version"; "fingerprint", all that the result depends on; "finished", the number of blocks that are
// done; "hidden", the block whose inputs the scratch files hold (0: none do); "linears", their reports; "seconds".
class RunState {
 public:
  static constexpr int kVersion = 1;
  static bool exists(const std::filesystem::path& dir);

  // Begins in an empty directory, or takes up what is there: Error(usage) names the first field of the fingerprint that
  // differs, Error(input) what is wrong with the manifest.
  RunState(std::filesystem::path dir, const Json& fingerprint);
  ~RunState();

  int finished() const { return finished_; }
  int hidden() const { return hidden_; }
  const std::vector<LayerReport>& reports() const { return reports_; }
  const PhaseSeconds& seconds() const { return seconds_; }
  std::filesystem::path block_file(int block) const;
  // That file, or the shard beside the state that it has become; nothing: the block stays as it is in the source.
  std::optional<std::filesystem::path> find_block(int block, int blocks) const;
  std::string hash() const;  // of the fingerprint and the place, for names of scratch files

  void set_seconds(const PhaseSeconds& s) { seconds_ = s; }  // not written: for who asks at the end
  void record(int finished, int hidden, const std::vector<LayerReport>&, const PhaseSeconds&);

 private:
  void read();
  std::filesystem::path dir_;
  std::unique_ptr<const Json> fingerprint_;
  int finished_ = 0, hidden_ = 0;
  std::vector<LayerReport> reports_;
  PhaseSeconds seconds_;
};

// Names, sizes and hashes of a model's files: of small ones the whole content; of large ones the first MiB (that is,
// the header) and 64 pages spread over the rest.
Json model_fingerprint(const std::filesystem::path& model);
std::string windows_fingerprint(const Windows&);

}  // namespace sinter
