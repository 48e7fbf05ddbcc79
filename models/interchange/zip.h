#pragma once
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace sinter {

// The directory of a ZIP archive whose members are stored as they are (method 0), also with the 64-bit fields of zip64;
// what PyTorch writes. Members are views into `file`, which must outlive the archive. Source: PKWARE, APPNOTE.TXT 6.3.
//
// Error(input) naming `where` for what is no such archive: compressed or encrypted members, several disks, names that
// are empty, absolute, twice there or hold "..", members that overlap or reach beyond the directory, and a directory
// that disagrees with itself or with the members' own headers. Checksums are not compared.
class ZipArchive {
 public:
  struct Member {
    std::string_view name;
    std::span<const std::byte> data;
  };
  ZipArchive(std::span<const std::byte> file, std::string_view where);

  std::span<const Member> members() const { return members_; }  // sorted by name
  const Member* find(std::string_view name) const;

 private:
  std::vector<Member> members_;
};

}  // namespace sinter
