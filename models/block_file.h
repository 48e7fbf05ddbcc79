#pragma once
#include <filesystem>

#include "models/checkpoint.h"

// A model that is written block by block, so that it never has to be in memory as a whole.
namespace sinter {

// All tensors of one block as a file of its own, synced.
void save_block(CausalLM&, int block, const std::filesystem::path& file, const SaveOptions& = {});

// Replaces the weights of the block's linears by those of such a file, mapped. Error(input) where the file is of
// another model.
void map_block(CausalLM&, int block, const std::filesystem::path& file);

// Gives the pages of mapped files that hold the block's linears, the embedding and the head back to the system.
void release_block(CausalLM&, int block);
void release_ends(CausalLM&);
void release_pages(const FrozenWeight&);

// Writes the model into an existing directory: as model.safetensors up to options.shard_bytes; above that as one shard
// per block, for which the file that block_file(block) names is moved there if it exists, and one shard for the rest.
void assemble_model(CausalLM&, const std::filesystem::path& dir, const SaveOptions&,
                    const std::function<std::filesystem::path(int block)>& block_file);
std::filesystem::path shard_name(int shard, int shards);  // model-00001-of-00002.safetensors; shards count from 0

}  // namespace sinter
