#include "apps/commands.h"

#include "apps/command.h"

namespace sinter {
namespace {

constexpr CommandInfo kCommands[] = {
    {"info", "Architecture, parameters, storage format and zeros of a model",
     "  sinter info MODEL\n  sinter info MODEL --verify --json info.json", make_info},
    {"tokenize", "Text to token ids, and back",
     "  sinter tokenize MODEL --text \"Once upon a time\"\n  sinter tokenize MODEL --file wiki.txt --lines --json "
     "ids.json\n"
     "  sinter tokenize MODEL --decode 1,403,407",
     make_tokenize},
    {"logits", "One forward pass; the logits as a safetensors file",
     "  sinter logits MODEL --ids 1,403,407 --out logits.safetensors\n"
     "  sinter logits MODEL --ids-file ids.json --out logits.safetensors --soft-prompt prompt.safetensors",
     make_logits},
    {"perplexity", "Perplexity of a text, with or without a soft prompt",
     "  sinter perplexity MODEL --text wiki.test.raw --lines\n"
     "  sinter perplexity MODEL --text valid.jsonl --seq-len 1024 --soft-prompt prompt.safetensors --json ppl.json",
     make_perplexity},
    {"generate", "Continue a text",
     "  sinter generate MODEL --prompt \"Once upon a time\"\n"
     "  sinter generate MODEL --prompt \"Question:\" --temperature 0.8 --top-p 0.95 --stop \"\\n\" --seed 1",
     make_generate},
    {"compress", "Prune and quantise the linear layers, block by block",
     "  sinter compress MODEL --out DIR --method sparsegpt --sparsity 0.5 --calibration c4.jsonl\n"
     "  sinter compress MODEL --out DIR --method gptq --bits 4 --group-size 128 --act-order --calibration c4.jsonl\n"
     "  sinter compress MODEL --out DIR --method sparsegpt --pattern 2:4 --bits 4 --calibration windows.json\n"
     "  sinter compress MODEL --out DIR --method wanda --pattern 4:8 --calibration c4.jsonl --dry-run",
     make_compress},
    {"export", "Write a model for other programs: dense, GPTQ, compressed-tensors, GGUF",
     "  sinter export MODEL --to dense --out DIR\n"
     "  sinter export MODEL --to gptq --out DIR --json export.json\n"
     "  sinter export MODEL --to gguf --out model.gguf\n"
     "  sinter info MODEL --target vllm        (what that program will accept)",
     make_export},
    {"prompt", "Learn a soft prompt for a frozen, compressed model",
     "  sinter prompt MODEL --data train.jsonl --validation valid.jsonl --out prompt.safetensors --steps 1000\n"
     "  sinter prompt MODEL --data train.txt --out adapter_dir --tokens 20 --init text:\"Answer carefully.\" --resume\n"
     "  sinter prompt MODEL --data train.jsonl --validation valid.jsonl --out prompt-{k}.safetensors --tokens "
     "25,50,100",
     make_prompt},
    {"prompt transfer", "Perplexity of every model with every prompt: does a prompt help where it was not learned?",
     "  sinter prompt transfer --models dense=DIR,75%=DIR75,50%=DIR50 --prompts 75%=P75 --data wiki=wiki.test.raw "
     "--lines\n"
     "  sinter prompt transfer --models 2bit=A --models 3bit=B --prompts 2bit=PA --prompts 3bit=PB --data c4=c4.jsonl "
     "--seq-len 1024 --out matrix.json --resume",
     make_prompt_transfer},
    {"prompt bake", "Write a model whose vocabulary holds the prompt, for programs that know no soft prompts",
     "  sinter prompt bake MODEL --soft-prompt prompt.safetensors --out DIR", make_prompt_bake},
    {"finetune", "Recover a compressed model: SPP, LoRA, or all weights",
     "  sinter finetune MODEL --method spp --data alpaca.json --out adapter_dir --val-size 2000\n"
     "  sinter finetune MODEL --method lora --rank 8 --targets q_proj,v_proj --data train.txt --out adapter_dir\n"
     "  sinter finetune MODEL --method full --keep-mask --data train.jsonl --out DIR --lr 1e-4\n"
     "  sinter finetune MODEL --method spp --rank 16 --dry-run",
     make_finetune},
    {"merge", "Fold an adapter into the weights; SPP keeps every zero",
     "  sinter merge MODEL --adapter adapter_dir --out DIR\n"
     "  sinter merge MODEL --adapter lora_dir --out DIR --remask",
     make_merge},
    {"recipe", "A list of these steps in one run that can be resumed",
     "  sinter recipe heal.json\n"
     "  sinter recipe heal.json --set model=DIR --out heal-7b --resume\n"
     "  sinter recipe heal.json --dry-run\n"
     "\nheal.json:\n"
     "  {\"out\": \"heal\",\n"
     "   \"variables\": {\"model\": \"llama-1b\", \"test\": \"wiki.test.raw\"},\n"
     "   \"steps\": [\n"
     "     {\"name\": \"small\", \"command\": \"compress\", \"model\": \"${model}\", \"method\": \"sparsegpt\", "
     "\"sparsity\": 0.75,\n"
     "      \"calibration\": \"c4.jsonl\"},\n"
     "     {\"name\": \"learned\", \"command\": \"prompt\", \"model\": \"${small}\", \"data\": \"c4.jsonl\", "
     "\"steps\": 500},\n"
     "     {\"name\": \"ppl\", \"command\": \"perplexity\", \"model\": \"${small}\", \"soft-prompt\": \"${learned}\",\n"
     "      \"text\": \"${test}\", \"lines\": true}]}",
     make_recipe},
    {"pretrain", "Train a small LLaMA or OPT from scratch",
     "  sinter pretrain --config config.json --make-tokenizer 2048 --data train.txt --validation valid.txt --out DIR "
     "--steps 3000\n"
     "  sinter pretrain --config config.json --tokenizer MODEL --data train.jsonl --out DIR --budget-seconds 600",
     make_pretrain},
    {"demo", "The whole journey on the small models that are part of the program: compress, learn prompts, measure",
     "  sinter demo\n  sinter demo --out DIR --json demo.json", make_demo},
    {"bench", "Rates of the engine beside this machine's limits, measured in the same run",
     "  sinter bench --list\n  sinter bench --what gemm_f32,decode_f32 --json bench.json", make_bench},
    {"worlds", "Write the generated text that the demo's models are trained on",
     "  sinter worlds --out train.txt --count 20000\n  sinter worlds --out valid.txt --count 300 --held-out",
     make_worlds_text},
};

}  // namespace

std::span<const CommandInfo> commands() { return kCommands; }

}  // namespace sinter
