#include "apps/demo_data.h"

#include <span>
#include <string_view>

#include "core/error.h"
#include "core/file.h"

// Puts the bytes of a file of the source tree into the program, between two symbols.
#define SINTER_EMBED(symbol, file)                                                                                  \
  __asm__(                                                                                                          \
      ".section .rodata\n.balign 16\n"                                                                              \
      ".global " #symbol "_begin\n.global " #symbol "_end\n" #symbol "_begin:\n.incbin \"" SINTER_DEMO_DIR "/" file \
      "\"\n" #symbol "_end:\n.byte 0\n.previous\n");                                                                \
  extern "C" const char symbol##_begin[], symbol##_end[]

SINTER_EMBED(sinter_llama_config, "llama/config.json");
SINTER_EMBED(sinter_llama_weights, "llama/model.safetensors");
SINTER_EMBED(sinter_llama_tokenizer, "llama/tokenizer.model");
SINTER_EMBED(sinter_llama_tokenizer_config, "llama/tokenizer_config.json");
SINTER_EMBED(sinter_opt_config, "opt/config.json");
SINTER_EMBED(sinter_opt_weights, "opt/model.safetensors");
SINTER_EMBED(sinter_opt_tokenizer, "opt/tokenizer.model");
SINTER_EMBED(sinter_opt_tokenizer_config, "opt/tokenizer_config.json");

namespace sinter {
namespace {

struct Embedded {
  std::string_view model, file;
  const char *begin, *end;
};
const Embedded kFiles[] = {
    {"llama", "config.json", sinter_llama_config_begin, sinter_llama_config_end},
    {"llama", "model.safetensors", sinter_llama_weights_begin, sinter_llama_weights_end},
    {"llama", "tokenizer.model", sinter_llama_tokenizer_begin, sinter_llama_tokenizer_end},
    {"llama", "tokenizer_config.json", sinter_llama_tokenizer_config_begin, sinter_llama_tokenizer_config_end},
    {"opt", "config.json", sinter_opt_config_begin, sinter_opt_config_end},
    {"opt", "model.safetensors", sinter_opt_weights_begin, sinter_opt_weights_end},
    {"opt", "tokenizer.model", sinter_opt_tokenizer_begin, sinter_opt_tokenizer_end},
    {"opt", "tokenizer_config.json", sinter_opt_tokenizer_config_begin, sinter_opt_tokenizer_config_end},
};

}  // namespace

std::filesystem::path unpack_demo_model(const std::string& name, const std::filesystem::path& out) {
  auto dir = out / name;
  std::filesystem::create_directories(dir);
  for (const Embedded& e : kFiles)
    if (e.model == name) write_text_atomic(dir / e.file, std::string_view(e.begin, std::size_t(e.end - e.begin)));
  return dir;
}

}  // namespace sinter
