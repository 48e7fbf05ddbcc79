#pragma once
#include <map>
#include <string>
#include <string_view>

namespace sinter {

// model.safetensors.index.json of a sharded checkpoint: tensor name -> file name of its shard, both as in `weight_map`.
// Error{input} naming `where` when it is no such index, or when a shard's name could leave the checkpoint's directory
// (it contains '/' or ".." or is empty). `metadata.total_size` is ignored: writers disagree about it.
std::map<std::string, std::string> parse_shard_index(std::string_view text, std::string_view where);

}  // namespace sinter
