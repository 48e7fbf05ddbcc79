#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

// The pools that entities are drawn from, and the fixed tables that hold in every document.
namespace sinter::worlds {

struct Job {
  std::string_view name, material, tool;
};
struct Beast {
  std::string_view name, young, food;
};
struct Pair {
  std::string_view left, right;
};

std::span<const std::string_view> places();
std::span<const std::string_view> objects();
std::span<const std::string_view> colours();
std::span<const std::string_view> countables();
std::span<const std::string_view> foods();
std::span<const std::string_view> pet_names();
std::span<const std::string_view> days();
std::span<const std::string_view> months();
std::span<const std::string_view> weathers();
std::span<const Job> jobs();
std::span<const Beast> beasts();
std::span<const Pair> opposites();

// People: the ending of the name tells the gender. `index` < person_names().
std::uint32_t person_names();
std::string person_name(bool female, std::uint32_t index);

// Towns: each has its river and its trade for ever. `town` < town_count().
std::uint32_t town_count();
std::string town_name(std::uint32_t town);
std::string_view town_river(std::uint32_t town);
std::string_view town_trade(std::uint32_t town);

// 0..20 in words.
std::string_view number_word(std::uint32_t n);

}  // namespace sinter::worlds
