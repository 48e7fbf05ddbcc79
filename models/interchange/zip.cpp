#include "models/interchange/zip.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/error.h"

namespace sinter {
namespace {

static_assert(std::endian::native == std::endian::little);

// Little-endian numbers and text at places that were checked to lie in the file.
class Bytes {
 public:
  Bytes(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}
  std::uint64_t size() const { return bytes_.size(); }
  std::span<const std::byte> all() const { return bytes_; }
  std::string_view where() const { return where_; }

  // The part [at, at + length).
  Bytes part(std::uint64_t at, std::uint64_t length, std::string_view what) const {
    require(at <= size() && length <= size() - at, ErrorCode::input, where_, what, " of ", length, " bytes at ", at,
            " reaches beyond its end at ", size());
    return {bytes_.subspan(at, length), where_};
  }
  template <class T>
  T number(std::uint64_t at) const {
    const Bytes here = part(at, sizeof(T), "a number");
    T value;
    std::memcpy(&value, here.bytes_.data(), sizeof value);
    return value;
  }
  std::uint32_t u16(std::uint64_t at) const { return number<std::uint16_t>(at); }
  std::uint32_t u32(std::uint64_t at) const { return number<std::uint32_t>(at); }
  std::uint64_t u64(std::uint64_t at) const { return number<std::uint64_t>(at); }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
};

constexpr std::uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50;
constexpr std::uint32_t kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr std::uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20;
constexpr std::uint32_t kSee64 = 0xffffffff, kSee64Count = 0xffff;  // "the 64-bit record knows"
constexpr std::uint32_t kEncrypted = 1, kDescriptor = 8;  // flags; the second: sizes and checksum follow the data

constexpr std::size_t kLongestName = 512;

struct Directory {
  std::uint64_t count, at, bytes;
};

// The end record is last, with nothing but its own comment behind it.
std::uint64_t find_end(const Bytes& file) {
  require(file.size() >= kEndBytes, ErrorCode::input, file.where(), "is no zip archive: only ", file.size(), " bytes");
  const std::uint64_t last = file.size() - kEndBytes, first = last - std::min<std::uint64_t>(last, 0xffff);
  for (std::uint64_t at = last + 1; at-- > first;)
    if (file.u32(at) == kEnd && at + kEndBytes + file.u16(at + 20) == file.size()) return at;
  fail(ErrorCode::input, file.where(), "is no zip archive, or its end is missing");
}

Directory find_directory(const Bytes& file) {
  const std::uint64_t end = find_end(file);
  Directory d{file.u16(end + 10), file.u32(end + 16), file.u32(end + 12)};
  std::uint64_t behind = end;  // the directory ends before this record
  bool one_disk = file.u16(end + 4) == 0 && file.u16(end + 6) == 0 && file.u16(end + 8) == d.count;
  if (end >= kLocatorBytes && file.u32(end - kLocatorBytes) == kLocator64) {
    const std::uint64_t locator = end - kLocatorBytes;
    behind = file.u64(locator + 8);
    require(behind <= locator && locator - behind >= kEnd64Bytes && file.u32(behind) == kEnd64, ErrorCode::input,
            file.where(), "zip64 end record at ", behind, " is missing");
    const Directory wide{file.u64(behind + 32), file.u64(behind + 48), file.u64(behind + 40)};
    const bool agree = (d.count == kSee64Count || d.count == wide.count) && (d.at == kSee64 || d.at == wide.at) &&
                       (d.bytes == kSee64 || d.bytes == wide.bytes);
    require(agree, ErrorCode::input, file.where(), "the zip and the zip64 end record disagree");
    one_disk = one_disk && file.u32(locator + 4) == 0 && file.u32(locator + 16) <= 1 && file.u32(behind + 16) == 0 &&
               file.u32(behind + 20) == 0 && file.u64(behind + 24) == wide.count;
    d = wide;
  }
  require(one_disk, ErrorCode::input, file.where(), "is a zip archive on several disks");
  require(d.at <= behind && d.bytes == behind - d.at, ErrorCode::input, file.where(), "zip directory of ", d.bytes,
          " bytes at ", d.at, " does not end at ", behind);
  require(d.count <= d.bytes / kCentralBytes, ErrorCode::input, file.where(), "zip directory of ", d.bytes,
          " bytes cannot hold ", d.count, " members");
  return d;
}

struct Extent {
  std::uint64_t begin, end;  // from the local header to behind the data
};

class Entry {
 public:
  Entry(const Bytes& file, std::uint64_t at) : file_(file), at_(at) {
    const Bytes fixed = file.part(at, kCentralBytes, "a zip directory entry");
    require(fixed.u32(0) == kCentral, ErrorCode::input, file.where(), "no zip directory entry at ", at);
    flags_ = fixed.u16(8), method_ = fixed.u16(10), packed_ = fixed.u32(20), size_ = fixed.u32(24);
    header_ = fixed.u32(42);
    const std::uint64_t name = fixed.u16(28), extra = fixed.u16(30), comment = fixed.u16(32);
    end_ = at + kCentralBytes + name + extra + comment;
    name_ = file.part(at + kCentralBytes, name, "a member's name").text();
    const Bytes more = file.part(at + kCentralBytes + name, extra + comment, "a member's extra field");
    read_wide(more.part(0, extra, "an extra field"));
    check(fixed.u16(34));
  }
  std::uint64_t end() const { return end_; }

  // Data of the member, checked against its own header; all lies before `limit`, where the directory begins.
  ZipArchive::Member member(std::uint64_t limit, Extent& extent) const {
    const Bytes before = file_.part(0, limit, "a zip archive");
    const Bytes local = before.part(header_, kLocalBytes, "a member's header");
    require(local.u32(0) == kLocal, ErrorCode::input, file_.where(), "member ", name_, " has no header at ", header_);
    const std::uint64_t name = local.u16(26), extra = local.u16(28), data = header_ + kLocalBytes + name + extra;
    const std::uint32_t packed = local.u32(18), size = local.u32(22);
    const bool later = (flags_ & kDescriptor) != 0 && packed == 0 && size == 0;  // the sizes
    const bool same = before.part(header_ + kLocalBytes, name, "a member's name").text() == name_ &&
                      local.u16(6) == flags_ && local.u16(8) == method_ &&
                      (later || ((packed == size_ || packed == kSee64) && (size == size_ || size == kSee64)));
    require(same, ErrorCode::input, file_.where(), "member ", name_, ": its header and the zip directory disagree");
    extent = {header_, data + size_};
    return {name_, before.part(data, size_, "a member").all()};
  }

 private:
  // Field 1 of the extra data holds what did not fit into 32 bits, in this order.
  void read_wide(const Bytes& extra) {
    for (std::uint64_t at = 0; at + 4 <= extra.size();) {
      const Bytes field = extra.part(at + 4, extra.u16(at + 2), "an extra field");
      std::uint64_t next = 0;
      if (extra.u16(at) == 1)
        for (std::uint64_t* value : {&size_, &packed_, &header_})
          if (*value == kSee64) *value = field.u64(next), next += 8;
      at += 4 + field.size();
    }
  }
  void check(std::uint32_t disk) const {
    const auto strange = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\\'; };
    require(!name_.empty() && name_.size() <= kLongestName && name_[0] != '/' && name_.find("..") == name_.npos &&
                std::ranges::none_of(name_, strange),
            ErrorCode::input, file_.where(), "the zip directory entry at ", at_, " has no sound name");
    require((flags_ & kEncrypted) == 0, ErrorCode::input, file_.where(), "member ", name_, " is encrypted");
    require(method_ == 0 && packed_ == size_, ErrorCode::input, file_.where(), "member ", name_,
            " is compressed (method ", method_, "), PyTorch stores without compression");
    require(disk == 0, ErrorCode::input, file_.where(), "is a zip archive on several disks");
  }

  Bytes file_;
  std::uint64_t at_, end_ = 0, packed_ = 0, size_ = 0, header_ = 0;
  std::uint32_t flags_ = 0, method_ = 0;
  std::string_view name_;
};

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> content, std::string_view where) {
  const Bytes file(content, where);
  const Directory directory = find_directory(file);
  std::vector<Extent> extents(directory.count);
  members_.reserve(directory.count);
  std::uint64_t at = directory.at;
  for (Extent& extent : extents) {
    const Entry entry(file, at);
    members_.push_back(entry.member(directory.at, extent));
    at = entry.end();
  }
  require(at == directory.at + directory.bytes, ErrorCode::input, where, "the entries of the zip directory end at ", at,
          ", it says at ", directory.at + directory.bytes);
  std::ranges::sort(extents, {}, &Extent::begin);
  for (std::size_t i = 1; i < extents.size(); ++i)
    require(extents[i - 1].end <= extents[i].begin, ErrorCode::input, where, "two members overlap at ",
            extents[i].begin);
  std::ranges::sort(members_, {}, &Member::name);
  const auto twice = std::ranges::adjacent_find(members_, {}, &Member::name);
  require(twice == members_.end(), ErrorCode::input, where, "a member's name stands twice");
}

const ZipArchive::Member* ZipArchive::find(std::string_view name) const {
  const auto it = std::ranges::lower_bound(members_, name, {}, &Member::name);
  return it != members_.end() && it->name == name ? &*it : nullptr;
}

}  // namespace sinter
