#pragma once
#include <cstdint>
#include <string>
#include <vector>

// ZIP archives as tests need them: sound, or wrong in one place.
namespace sinter::test {

struct ZipMember {
  std::string name, data;
  std::uint16_t method = 0, flags = 0;
  std::string local_name = {};  // in the member's own header; empty: the same
  std::uint32_t larger = 0;  // what the directory adds to the size
  std::int32_t shift = 0;  // what the directory adds to the place
};

inline void put(std::string& to, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to += char(value >> 8 * i);
}

// wide: sizes and places in zip64 fields, with the zip64 end record.
inline std::string zip_file(const std::vector<ZipMember>& members, bool wide = false) {
  std::string file, directory;
  for (const ZipMember& m : members) {
    const std::uint64_t place = file.size() + std::uint64_t(std::int64_t(m.shift)), size = m.data.size() + m.larger;
    const auto& local = m.local_name.empty() ? m.name : m.local_name;
    const auto sizes = [&](std::string& to) {
      put(to, 0, 4);  // checksum
      for (int i = 0; i < 2; ++i) put(to, wide ? 0xffffffff : size, 4);
    };
    const auto header = [&](std::string& to, std::uint32_t signature, const std::string& name, bool central) {
      put(to, signature, 4);
      if (central) put(to, 45, 2);
      put(to, 45, 2), put(to, m.flags, 2), put(to, m.method, 2), put(to, 0, 4);
      sizes(to);
      put(to, name.size(), 2), put(to, wide ? central ? 28 : 20 : 0, 2);
      if (central) put(to, 0, 8), put(to, 0, 2), put(to, wide ? 0xffffffff : place, 4);
      to += name;
      if (wide) {
        put(to, 1, 2), put(to, central ? 24 : 16, 2), put(to, size, 8), put(to, size, 8);
        if (central) put(to, place, 8);
      }
    };
    header(directory, 0x02014b50, m.name, true);
    header(file, 0x04034b50, local, false);
    file += m.data;
  }
  const std::uint64_t at = file.size();
  file += directory;
  if (wide) {
    const std::uint64_t end = file.size();
    put(file, 0x06064b50, 4), put(file, 44, 8), put(file, 45, 2), put(file, 45, 2), put(file, 0, 8);
    put(file, members.size(), 8), put(file, members.size(), 8), put(file, directory.size(), 8), put(file, at, 8);
    put(file, 0x07064b50, 4), put(file, 0, 4), put(file, end, 8), put(file, 1, 4);
  }
  put(file, 0x06054b50, 4), put(file, 0, 4);
  for (int i = 0; i < 2; ++i) put(file, wide ? 0xffff : members.size(), 2);
  put(file, wide ? 0xffffffff : directory.size(), 4), put(file, wide ? 0xffffffff : at, 4), put(file, 0, 2);
  return file;
}

}  // namespace sinter::test
