#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/random.h"

// Small English worlds: seeded documents of a story, its facts asked back, and sums. Each tells of two people of a
// village; names, places and belongings come from large pools and are then referred to many times, so that the next
// word mostly follows from the same document, from the village or from tables that never change (docs/worlds.md).
// Equal seed and index give equal bytes on every platform.
namespace sinter {

// Documents with an index from here on are held out. A text belongs to one side by its own hash, and a document that
// falls on the wrong side is drawn again: no held-out text can equal a training text, whatever the two seeds are.
inline constexpr std::uint64_t kHeldOutWorlds = std::uint64_t(1) << 40;

// So many documents in a row are from one village: the same eight people and the same narrator.
inline constexpr std::uint64_t kVillageWorlds = 64;

// A question to a model: the prompt is context + question ("...\nAnswer:"), the expected continuation up to the end of
// the line is answer (" ... .").
struct WorldQuestion {
  std::string context, question, answer;
};

// One document, 300 to 900 bytes of ASCII, ending with a blank line ("\n\n").
std::string make_world(Rng rng, std::uint64_t index);

// Documents first .. first + count - 1 of the stream that `seed` names.
std::vector<std::string> make_worlds(std::uint64_t seed, std::uint64_t first, std::size_t count);

// `count` different documents of the village that document `index` belongs to: its own 64 first, then more of them.
std::vector<std::string> make_village(std::uint64_t seed, std::uint64_t index, std::size_t count);

// One question about each of the documents first .. first + count - 1.
std::vector<WorldQuestion> make_questions(std::uint64_t seed, std::uint64_t first, std::size_t count);

// Documents first .. first + count - 1. `path` ending in ".jsonl": one {"text": document} per line; otherwise the
// documents one after the other. The file is complete or not there. Error(io) when it cannot be written.
void write_worlds(const std::filesystem::path& path, std::uint64_t seed, std::uint64_t first, std::int64_t count,
                  LogSink&);

// How many of the held-out documents also occur, byte for byte, among the training documents.
std::size_t shared_worlds(std::span<const std::string> train, std::span<const std::string> held_out);

}  // namespace sinter
