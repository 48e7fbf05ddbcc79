"""Makes what only torch.save can: pytorch_model.bin in the shapes that our reader must know, and one that it refuses.

    python make_bin.py [--out DIR]            (default: bin/ beside this script)

Element i of every tensor here is value(i), exact in every float type, so that tests need no second file.
"""
import argparse
import json
import pathlib
import zipfile
from collections import OrderedDict

import safetensors.torch
import torch

LLAMA = dict(model_type="llama", vocab_size=16, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
             num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32, rms_norm_eps=1e-5,
             tie_word_embeddings=False)


def value(shape, dtype=torch.float32, start=0):
    count = torch.Size(shape).numel()
    return ((torch.arange(start, start + count) * 37 % 64 - 32) / 16).to(dtype).reshape(shape)


def mixed():
    plain = value((3, 4))
    wide = value((5, 6))
    state = OrderedDict(plain=plain, tied=plain, parameter=torch.nn.Parameter(value((2, 3))), transposed=plain.t(),
                        window=wide[1:4, 2:5], rows=wide[2:4], step=wide.flatten()[1::7],
                        half=value((7,), torch.float16),
                        brain=value((7,), torch.bfloat16), double=value((2,), torch.float64),
                        long=torch.tensor([1, -2, 1 << 40]), int=torch.tensor([-3], dtype=torch.int32),
                        char=torch.tensor([-4], dtype=torch.int8), byte=torch.tensor([250], dtype=torch.uint8),
                        bool=torch.tensor([True, False, True]), short=torch.tensor([5], dtype=torch.int16),
                        scalar=torch.tensor(0.5), empty=torch.zeros(0, 3),
                        frozen=torch.nn.Parameter(value((2,)), False))
    state["step_count"] = 12345678901
    return state


def llama():
    d, kv, f, vocab = 8, 4, 12, LLAMA["vocab_size"]
    layer = "model.layers.0."
    shapes = OrderedDict([("model.embed_tokens.weight", (vocab, d)), (layer + "self_attn.q_proj.weight", (d, d)),
                          (layer + "self_attn.k_proj.weight", (kv, d)), (layer + "self_attn.v_proj.weight", (kv, d)),
                          (layer + "self_attn.o_proj.weight", (d, d)), (layer + "mlp.gate_proj.weight", (f, d)),
                          (layer + "mlp.up_proj.weight", (f, d)), (layer + "mlp.down_proj.weight", (d, f)),
                          (layer + "input_layernorm.weight", (d,)), (layer + "post_attention_layernorm.weight", (d,)),
                          ("model.norm.weight", (d,)), ("lm_head.weight", (vocab, d))])
    return OrderedDict((name, value(shape, torch.float16, 5 * i)) for i, (name, shape) in enumerate(shapes.items()))


def save_llama(out):
    state = llama()
    for name in ("llama_safetensors", "llama_one", "llama_shards"):
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / "config.json").write_text(json.dumps(LLAMA, indent=1) + "\n")
    safetensors.torch.save_file(state, out / "llama_safetensors" / "model.safetensors")
    torch.save(state, out / "llama_one" / "pytorch_model.bin")
    names = list(state)
    where = {}
    for i, part in enumerate((names[:5], names[5:])):
        file = f"pytorch_model-{i + 1:05d}-of-00002.bin"
        torch.save(OrderedDict((n, state[n]) for n in part), out / "llama_shards" / file)
        where.update({n: file for n in part})
    index = dict(metadata=dict(total_size=sum(2 * t.numel() for t in state.values())), weight_map=where)
    (out / "llama_shards" / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


def save_zip64(source, target):
    """The same members from another writer: sizes in zip64 fields, nothing aligned."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            with new.open(zipfile.ZipInfo(member.filename), "w", force_zip64=True) as file:
                file.write(old.read(member))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "bin")
    out = parser.parse_args().out
    (out / "adapter").mkdir(parents=True, exist_ok=True)
    torch.save(mixed(), out / "mixed.bin")
    module = torch.nn.ParameterDict({"w": torch.nn.Parameter(value((2, 2)))})
    torch.save({"epoch": 3, "state_dict": module.state_dict(), "loss": 0.25, "seed": 1 << 70}, out / "nested.bin")
    save_zip64(out / "mixed.bin", out / "zip64.bin")
    torch.save(OrderedDict(w=value((2,))), out / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(1, 1), out / "module.bin")
    prompt = torch.nn.Embedding(3, LLAMA["hidden_size"])
    prompt.weight.data = value((3, LLAMA["hidden_size"]))
    torch.save(prompt, out / "soft_prompt.model")
    torch.save({"prompt_embeddings": prompt.weight.data}, out / "adapter" / "adapter_model.bin")
    (out / "adapter" / "adapter_config.json").write_text(
        json.dumps(dict(peft_type="PROMPT_TUNING", num_virtual_tokens=3, token_dim=LLAMA["hidden_size"])) + "\n")
    save_llama(out)


if __name__ == "__main__":
    main()
