#include "core/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace sinter {

namespace fs = std::filesystem;

namespace {

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags, mode_t mode = 0) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// A rename survives a power cut only once its directory is synced; file systems that cannot do that are left alone.
void sync_directory(const fs::path& directory) {
  const Descriptor d(directory.empty() ? fs::path(".") : directory, O_RDONLY | O_DIRECTORY);
  if (d.get() >= 0) ::fsync(d.get());
}

[[noreturn]] void fail_errno(ErrorCode code, const fs::path& path, const char* what) {
  const char* reason = std::strerror(errno);
  fail(code, path.native(), what, reason);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must be an error here, not a wait for its writer.
  const Descriptor file(path, O_RDONLY | O_NONBLOCK);
  if (file.get() < 0) fail_errno(ErrorCode::input, path, "cannot be opened: ");
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) fail_errno(ErrorCode::input, path, "cannot be examined: ");
  require(!S_ISDIR(facts.st_mode), ErrorCode::input, path.native(), "is a directory, expected a file");
  require(S_ISREG(facts.st_mode), ErrorCode::input, path.native(), "is not a regular file");
  require(facts.st_size > 0, ErrorCode::input, path.native(), "is empty");
  size_ = static_cast<std::size_t>(facts.st_size);
  void* memory = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) fail_errno(ErrorCode::input, path, "cannot be mapped: ");
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() { ::munmap(const_cast<std::byte*>(data_), size_); }

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  return std::make_shared<const MappedFile>(path);
}

std::string read_text(const fs::path& path, std::size_t max_bytes) {
  const Descriptor file(path, O_RDONLY);
  if (file.get() < 0) fail_errno(ErrorCode::input, path, "cannot be opened: ");
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) fail_errno(ErrorCode::input, path, "cannot be examined: ");
  require(!S_ISDIR(facts.st_mode), ErrorCode::input, path.native(), "is a directory, expected a file");
  std::string text;
  if (S_ISREG(facts.st_mode)) {
    require(static_cast<std::size_t>(facts.st_size) <= max_bytes, ErrorCode::input, path.native(), "is ", facts.st_size,
            " bytes, expected at most ", max_bytes);
    text.reserve(static_cast<std::size_t>(facts.st_size));
  }
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(ErrorCode::input, path, "cannot be read: ");
    if (n == 0) return text;
    require(static_cast<std::size_t>(n) <= max_bytes - text.size(), ErrorCode::input, path.native(), "is longer than ",
            max_bytes, " bytes");
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

AtomicWriter::AtomicWriter(fs::path path) : path_(std::move(path)) {
  struct stat facts {};
  const bool device = ::stat(path_.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode);
  if (device) file_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  for (int i = 0; !device && file_ < 0; ++i) {
    temporary_ = path_.native() + ".tmp" + std::to_string(::getpid()) + "." + std::to_string(i);
    file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0 && errno != EEXIST) break;
  }
  if (file_ < 0) fail_errno(ErrorCode::io, path_, "cannot be created: ");
}

AtomicWriter::~AtomicWriter() {
  ::close(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicWriter::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(ErrorCode::io, path_, "cannot be written: ");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicWriter::commit() {
  if (temporary_.empty()) return;
  if (::fsync(file_) != 0) fail_errno(ErrorCode::io, path_, "cannot be written: ");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_errno(ErrorCode::io, path_, "cannot be created: ");
  temporary_.clear();
  sync_directory(path_.parent_path());
}

void write_text_atomic(const fs::path& path, std::string_view text) {
  AtomicWriter out(path);
  out.write(text);
  out.commit();
}

AtomicDirectory::AtomicDirectory(const fs::path& directory, Stale stale) {
  std::error_code error;
  require(!directory.empty(), ErrorCode::usage, "output directory", "has an empty name");
  // Canonical, so that "out/" does not put the partial directory inside itself.
  final_ = fs::weakly_canonical(fs::absolute(directory), error);
  require(!error, ErrorCode::io, directory.native(), "cannot be examined: ", error.message());
  if (!final_.has_filename()) final_ = final_.parent_path();
  const fs::file_status status = fs::status(final_, error);
  if (fs::exists(status)) {
    require(fs::is_directory(status), ErrorCode::usage, directory.native(), "exists and is not a directory");
    const bool empty = fs::is_empty(final_, error);
    require(!error && empty, ErrorCode::usage, directory.native(), "exists and is not empty");
  }
  partial_ = final_.native() + ".partial";
  fs::create_directories(partial_, error);
  require(!error, ErrorCode::io, partial_.native(), "cannot be created: ", error.message());
  lock_ = ::open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool busy = lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (busy) ::close(lock_);
  require(!busy, ErrorCode::usage, partial_.native(), "is being written by another process");
  if (stale == Stale::adopt) return;
  try {
    clear();
  } catch (...) {
    ::close(lock_);
    throw;
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_ && !kept_) fs::remove_all(partial_, ignored);
  ::close(lock_);
}

void AtomicDirectory::clear() {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(partial_, error), end; !error && it != end; it.increment(error))
    entries.push_back(it->path());
  for (std::size_t i = 0; i < entries.size() && !error; ++i) fs::remove_all(entries[i], error);
  require(!error, ErrorCode::io, partial_.native(), "cannot be replaced: ", error.message());
}

void AtomicDirectory::commit() {
  require(!committed_, ErrorCode::usage, final_.native(), "is committed already");
  sync_directory(partial_);
  if (::rename(partial_.c_str(), final_.c_str()) != 0) fail_errno(ErrorCode::io, final_, "cannot be created: ");
  committed_ = true;
  sync_directory(final_.parent_path());
}

}  // namespace sinter
