#include "core/file.h"

#include <sys/stat.h>

#include <fstream>

#include "test/check.h"
#include "test/file_size_limit.h"
#include "test/temp_dir.h"

namespace sinter {
namespace {

namespace fs = std::filesystem;
using test::FileSizeLimit;
using test::TempDir;

void put(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

std::size_t entries(const fs::path& dir) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

TEST_CASE("a mapped file shows the file's bytes and outlives its name") {
  TempDir dir;
  put(dir / "a", "hello");
  put(dir / "b", std::string(100000, 'x'));
  const auto a = MappedFile::open(dir / "a");
  CHECK(a->text() == "hello");
  const auto b = MappedFile::open(dir / "b");
  fs::remove(dir / "b");
  CHECK(b->text() == std::string(100000, 'x'));
  CHECK(b->bytes().size() == 100000);
}

TEST_CASE("what cannot be mapped is refused by name") {
  TempDir dir;
  put(dir / "empty", "");
  CHECK_THROWS_TEXT(input, "missing: cannot be opened: No such file or directory", MappedFile(dir / "missing"));
  CHECK_THROWS_TEXT(input, "is a directory", MappedFile(dir.path()));
  CHECK_THROWS_TEXT(input, "empty: is empty", MappedFile(dir / "empty"));
  CHECK_THROWS_TEXT(input, "is not a regular file", MappedFile("/dev/null"));
  // A pipe without a writer must not make the program wait.
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_TEXT(input, "is not a regular file", MappedFile(dir / "pipe"));
}

TEST_CASE("text is read whole, up to its limit") {
  TempDir dir;
  const std::string text = "line\n" + std::string(70000, '\0') + "end";
  put(dir / "t", text);
  put(dir / "empty", "");
  CHECK(read_text(dir / "t") == text);
  CHECK(read_text(dir / "t", text.size()) == text);
  CHECK(read_text(dir / "empty").empty());
  CHECK(read_text("/dev/null").empty());
  CHECK_THROWS_TEXT(input, "expected at most 70007", read_text(dir / "t", text.size() - 1));
  CHECK_THROWS_TEXT(input, "is longer than 1000 bytes", read_text("/dev/zero", 1000));
  CHECK_THROWS_TEXT(input, "nothing: cannot be opened", read_text(dir / "nothing"));
  CHECK_THROWS_TEXT(input, "is a directory", read_text(dir.path()));
}

TEST_CASE("a file appears under its name only when it is committed") {
  TempDir dir;
  put(dir / "f", "old");
  {
    AtomicWriter out(dir / "f");
    out.write("half of the new");
    CHECK(read_text(dir / "f") == "old");
  }
  CHECK(read_text(dir / "f") == "old");
  CHECK(entries(dir.path()) == 1);
  {
    AtomicWriter first(dir / "f"), second(dir / "f");
    first.write("new ");
    second.write("other");
    first.write("text");
    first.commit();
    CHECK(read_text(dir / "f") == "new text");
    second.commit();
  }
  CHECK(read_text(dir / "f") == "other");
  write_text_atomic(dir / "g", "");
  CHECK(fs::file_size(dir / "g") == 0);
  CHECK(entries(dir.path()) == 2);
}

TEST_CASE("writing that fails names the file and leaves nothing behind") {
  TempDir dir;
  CHECK_THROWS_TEXT(io, "none/f: cannot be created: No such file or directory", AtomicWriter(dir / "none/f"));
  CHECK_THROWS_TEXT(io, "/dev/full: cannot be written: No space left on device",
                    write_text_atomic("/dev/full", "text"));
  CHECK_THROWS_TEXT(io, "cannot be created: Is a directory", AtomicWriter(dir.path()));
  write_text_atomic("/dev/null", "text");
  CHECK(fs::is_character_file("/dev/null"));
  {
    const FileSizeLimit limit(1000);
    CHECK_THROWS_TEXT(io, "big: cannot be written: File too large",
                      write_text_atomic(dir / "big", std::string(5000, 'x')));
  }
  CHECK(entries(dir.path()) == 0);
}

TEST_CASE("a directory appears under its name only when it is committed") {
  TempDir dir;
  {
    AtomicDirectory out(dir / "model/");
    put(out.path() / "config.json", "{}");
    CHECK_FALSE(fs::exists(dir / "model"));
  }
  CHECK(entries(dir.path()) == 0);
  fs::create_directories(dir / "deep/model.partial/stale");
  fs::create_directories(dir / "deep/model");
  {
    AtomicDirectory out(dir / "deep/model");
    CHECK(out.final_path().filename() == "model");
    CHECK(entries(out.path()) == 0);
    put(out.path() / "config.json", "{}");
    out.commit();
  }
  CHECK(read_text(dir / "deep/model/config.json") == "{}");
  CHECK(entries(dir / "deep") == 1);
}

TEST_CASE("a directory in use is not overwritten") {
  TempDir dir;
  fs::create_directory(dir / "full");
  put(dir / "full/precious", "1");
  put(dir / "file", "1");
  CHECK_THROWS_TEXT(usage, "full: exists and is not empty", AtomicDirectory(dir / "full"));
  CHECK_THROWS_TEXT(usage, "file: exists and is not a directory", AtomicDirectory(dir / "file"));
  CHECK_THROWS_TEXT(usage, "has an empty name", AtomicDirectory(""));
  CHECK_THROWS_CODE(io, AtomicDirectory("/dev/null/model"));
  CHECK(read_text(dir / "full/precious") == "1");
  // Somebody else filled it in the meantime.
  AtomicDirectory out(dir / "late");
  fs::create_directory(dir / "late");
  put(dir / "late/precious", "1");
  CHECK_THROWS_TEXT(io, "late: cannot be created", out.commit());
  CHECK(read_text(dir / "late/precious") == "1");
}

TEST_CASE("a partial directory can be kept and adopted, and has one writer at a time") {
  TempDir dir;
  {
    AtomicDirectory out(dir / "model");
    put(out.path() / "state", "1");
    out.keep();
    CHECK_THROWS_TEXT(usage, "model.partial: is being written by another process", AtomicDirectory(dir / "model"));
    CHECK(read_text(out.path() / "state") == "1");
  }
  {
    AtomicDirectory out(dir / "model", AtomicDirectory::Stale::adopt);
    CHECK(read_text(out.path() / "state") == "1");
    fs::create_directories(out.path() / "deep/er");
    out.clear();
    CHECK(entries(out.path()) == 0);
    out.keep();
  }
  put(dir / "model.partial/state", "2");
  AtomicDirectory out(dir / "model");
  CHECK(entries(out.path()) == 0);
}

}  // namespace
}  // namespace sinter
