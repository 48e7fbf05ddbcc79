#pragma once
#include <memory>

namespace sinter {

class Command;

// One per file of the same name. A new sub-command is its file, a line here and a row in commands.cpp.
std::unique_ptr<Command> make_info();
std::unique_ptr<Command> make_tokenize();
std::unique_ptr<Command> make_logits();
std::unique_ptr<Command> make_perplexity();
std::unique_ptr<Command> make_generate();
std::unique_ptr<Command> make_compress();
std::unique_ptr<Command> make_export();
std::unique_ptr<Command> make_prompt();
std::unique_ptr<Command> make_prompt_transfer();
std::unique_ptr<Command> make_prompt_bake();
std::unique_ptr<Command> make_finetune();
std::unique_ptr<Command> make_merge();
std::unique_ptr<Command> make_recipe();
std::unique_ptr<Command> make_pretrain();
std::unique_ptr<Command> make_demo();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_worlds_text();

}  // namespace sinter
