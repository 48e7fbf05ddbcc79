#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sinter {

// A whole file, mapped read-only. Error{input} names a path that is missing, empty or not a regular file.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The content of a file, pipe or device, perhaps empty; Error{input} when it cannot be read or exceeds max_bytes.
std::string read_text(const std::filesystem::path& path, std::size_t max_bytes = std::size_t{1} << 30);

// A file that appears under its name only when it is complete: a temporary beside it is written, synced and renamed by
// commit(), or removed by the destructor. A device (/dev/null, /dev/full) is written directly. Failures are Error{io}.
class AtomicWriter {
 public:
  explicit AtomicWriter(std::filesystem::path path);
  ~AtomicWriter();
  AtomicWriter(const AtomicWriter&) = delete;
  AtomicWriter& operator=(const AtomicWriter&) = delete;
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  std::filesystem::path path_, temporary_;  // temporary_ is empty for a device and after commit()
  int file_ = -1;
};

void write_text_atomic(const std::filesystem::path& path, std::string_view text);

// A directory that appears under its name only when it is complete: files go into DIR.partial, commit() renames it.
// Without commit() or keep(), DIR.partial is removed. Error{usage} when DIR exists and is not empty, or when another
// process writes it at this moment.
class AtomicDirectory {
 public:
  enum class Stale { replace, adopt };  // what becomes of the files of a DIR.partial that is there already
  explicit AtomicDirectory(const std::filesystem::path& directory, Stale = Stale::replace);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;
  const std::filesystem::path& path() const { return partial_; }  // where to write
  const std::filesystem::path& final_path() const { return final_; }
  void keep() { kept_ = true; }  // for a later run that adopts it
  void clear();  // removes what DIR.partial holds
  void commit();

 private:
  std::filesystem::path final_, partial_;
  int lock_ = -1;  // held on DIR.partial; a process that dies lets go of it
  bool kept_ = false, committed_ = false;
};

}  // namespace sinter
