#include "train/compress/hidden_bank.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/parallel.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBatchRows = 2048;  // short windows run together

bool all_finite(const Tensor& t) {
  const auto x = t.data<float>();
  // A sum of zeros and NaN tells: v · 0 is 0 for every finite v.
  return ordered_sum(t.numel(), [&](std::int64_t begin, std::int64_t end) {
           float sum = 0;
           for (auto i = std::size_t(begin); i < std::size_t(end); ++i) sum += x[i] * 0;
           return double(sum);
         }) == 0;
}

}  // namespace

// One scratch file; failures are Error(io) and name it.
class HiddenBank::File {
 public:
  File(fs::path path, int flags) : path_(std::move(path)), fd_(::open(path_.c_str(), flags | O_CLOEXEC, 0600)) {
    if (fd_ < 0) stop("cannot be opened: ");
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void read(std::byte* to, std::size_t bytes, std::int64_t at) {
    while (bytes > 0) {
      const ssize_t n = ::pread(fd_, to, bytes, at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) stop("cannot be read: ");
      require(n > 0, ErrorCode::io, path_.native(), "ends early; did another run use it?");
      to += n, at += n, bytes -= std::size_t(n);
    }
  }
  void write(const std::byte* from, std::size_t bytes, std::int64_t at) {
    while (bytes > 0) {
      const ssize_t n = ::pwrite(fd_, from, bytes, at);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) stop("cannot be written: ");
      from += n, at += n, bytes -= std::size_t(n);
    }
  }
  void sync() {
    if (::fdatasync(fd_) != 0) stop("cannot be written: ");
  }

 private:
  [[noreturn]] void stop(const char* what) const {
    const char* reason = std::strerror(errno);
    fail(ErrorCode::io, path_.native(), what, reason);
  }
  fs::path path_;
  int fd_;
};

void HiddenBank::check(const CausalLM& model, const Windows& windows) {
  require(!windows.empty() && !windows[0].empty(), ErrorCode::usage, "calibration", "there are no windows");
  for (const auto& w : windows)
    require(w.size() == windows[0].size(), ErrorCode::usage, "calibration", "windows of ", windows[0].size(),
            " and of ", w.size(), " tokens");
  require(std::int64_t(windows[0].size()) <= model.config().max_positions, ErrorCode::usage, "calibration",
          "windows of ", windows[0].size(), " tokens for a model of ", model.config().max_positions, " positions");
}

HiddenBank::HiddenBank(const CausalLM& model, const Windows& windows, fs::path scratch)
    : windows_(windows), width_(model.config().hidden), scratch_(std::move(scratch)) {
  check(model, windows);
  std::error_code error;
  if (!scratch_.empty()) fs::create_directories(scratch_.parent_path(), error);
  require(!error, ErrorCode::io, scratch_.parent_path().string(), "cannot be created: ", error.message());
}

HiddenBank::~HiddenBank() {
  std::error_code ignored;
  if (scratch_.empty() || kept_) return;
  for (const int block : {0, 1}) fs::remove(file_of(block), ignored);
}

std::int64_t HiddenBank::batch_sequences(std::int64_t length) { return std::max<std::int64_t>(1, kBatchRows / length); }

std::int64_t HiddenBank::batches() const {
  const std::int64_t at_once = batch_sequences(length());
  return (sequences() + at_once - 1) / at_once;
}

std::int64_t HiddenBank::count_at(std::int64_t batch) const {
  const std::int64_t at_once = batch_sequences(length());
  return std::min(at_once, sequences() - batch * at_once);
}

fs::path HiddenBank::file_of(int block) const { return scratch_.native() + (block % 2 == 0 ? ".even" : ".odd"); }

Tensor HiddenBank::batch(std::int64_t i) const {
  if (scratch_.empty()) return held_.at(std::size_t(i));
  const std::int64_t rows = count_at(i) * length();
  Tensor t = Tensor::empty({rows, width_}, DType::f32);
  const auto to = std::as_writable_bytes(t.mutable_data<float>());
  File(file_of(block_), O_RDONLY).read(to.data(), to.size(), i * batch_sequences(length()) * length() * width_ * 4);
  return t;
}

void HiddenBank::put(std::int64_t i, Tensor states, File* to) {
  if (to) return to->write(states.raw(), states.bytes(), i * batch_sequences(length()) * length() * width_ * 4);
  held_.resize(std::size_t(batches()));
  held_[std::size_t(i)] = std::move(states);
}

void HiddenBank::enter(const CausalLM& model, const Context& ctx, const Between& between) {
  std::optional<File> to;
  if (!scratch_.empty()) to.emplace(file_of(0), O_WRONLY | O_CREAT | O_TRUNC);
  const std::int64_t at_once = batch_sequences(length());
  for (std::int64_t i = 0; i < batches(); ++i) {
    std::vector<std::int32_t> ids;
    for (std::int64_t k = i * at_once; k < i * at_once + count_at(i); ++k)
      ids.insert(ids.end(), windows_[std::size_t(k)].begin(), windows_[std::size_t(k)].end());
    put(i, model.enter(ctx, model.embed(ctx, ids), Layout::equal(count_at(i), length())).value(), to ? &*to : nullptr);
    between();
  }
  if (to) to->sync();
  block_ = 0;
}

bool HiddenBank::reopen(int block) {
  std::error_code error;
  if (scratch_.empty() || fs::file_size(file_of(block), error) != std::uintmax_t(tokens() * width_ * 4) || error)
    return false;
  block_ = block;
  return true;
}

Var HiddenBank::run(const CausalLM& model, const Context& ctx, const Tensor& states) const {
  return model.run(ctx, states, {block_, block_ + 1}, Layout::equal(states.shape()[0] / length(), length()));
}

void HiddenBank::observe(const CausalLM& model, const Context& ctx, const Between& between) const {
  for (std::int64_t i = 0; i < batches(); ++i) {
    (void)run(model, ctx, batch(i));
    between();
  }
}

std::int64_t HiddenBank::advance(const CausalLM& model, const Context& ctx, const Between& between) {
  std::optional<File> to;
  if (!scratch_.empty()) to.emplace(file_of(block_ + 1), O_WRONLY | O_CREAT | O_TRUNC);
  Context exact = ctx;
  exact.compute = Compute::f32;
  std::int64_t again = 0;
  for (std::int64_t i = 0; i < batches(); ++i) {
    const Tensor states = batch(i);
    Tensor out = run(model, ctx, states).value();
    if (ctx.compute != Compute::f32 && !all_finite(out)) {
      out = run(model, exact, states).value();
      ++again;
    }
    put(i, std::move(out), to ? &*to : nullptr);
    between();
  }
  if (to) to->sync();
  ++block_;
  return again;
}

}  // namespace sinter
