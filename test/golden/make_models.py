"""Makes tiny random Hugging Face checkpoints of every supported variant, each with golden numbers.

    python make_models.py [--out DIR]         (default: models/ beside this script)

The golden numbers are computed from the files as written (reloaded from disk), in f64 with eager attention,
and stored as f32, so they are exact to 6e-8 relative. The same run in f32 must agree with them to F32_NOISE, which
shows that the numbers are well conditioned; else the script fails.
"""
import argparse
import contextlib
import json
import pathlib
import shutil

import safetensors.torch
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

T, K, GREEDY_FROM, GREEDY_NEW = 24, 5, 6, 12
F32_NOISE = 4e-6  # what an f32 run may be off, relative to the largest value: well below the 1e-5 that tests allow
LLAMA = dict(vocab_size=97, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=False, rms_norm_eps=1e-5)
OPT = dict(vocab_size=97, hidden_size=32, ffn_dim=60, num_hidden_layers=2, num_attention_heads=4,
           max_position_embeddings=62, word_embed_proj_dim=32, dropout=0.0, pad_token_id=1, bos_token_id=2,
           eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64, rope_theta=5000.0)


def default_rope(theta):
    return dict(rope_type="default", rope_theta=theta)


# name -> (overrides of the base configuration, options). `place` says where config.json keeps the rotary settings:
# "new" = rope_parameters, "old" = top-level rope_theta and rope_scaling, "none" = nowhere; old and none also leave
# out what a reader can derive (head_dim, num_key_value_heads of a multi-head model).
VARIANTS = {
    "llama_mha_untied": (dict(rope_parameters=default_rope(10000.0)), dict(place="none")),
    "llama_gqa_tied": (dict(num_key_value_heads=2, tie_word_embeddings=True), dict(place="none")),
    "llama_rope_llama3": (dict(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
                               tie_word_embeddings=True, rope_parameters=LLAMA3), dict(place="old")),
    "llama_rope_linear": (dict(tie_word_embeddings=True, rope_parameters=dict(
        rope_type="linear", factor=2.5, rope_theta=10000.0)), dict(place="old", type_key="type")),
    "llama_theta_old": (dict(tie_word_embeddings=True, rope_parameters=default_rope(300.0)), dict(place="old")),
    "llama_theta_new": (dict(tie_word_embeddings=True, rope_parameters=default_rope(300.0)), dict(place="new")),
    "llama_head_dim": (dict(head_dim=24, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True),
                       dict(place="new")),
    "llama_bias": (dict(attention_bias=True, mlp_bias=True, num_key_value_heads=2, tie_word_embeddings=True,
                        rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=2000.0)), dict(place="new")),
    "llama_bf16_sharded": (dict(num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512,
                                rope_parameters=LLAMA3),
                           dict(place="new", dtype=torch.bfloat16, shard="20KB")),
    "llama_f16": (dict(num_key_value_heads=2), dict(place="new", dtype=torch.float16)),
    "opt_pre_norm": (dict(), dict()),
    "opt_post_norm_proj": (dict(do_layer_norm_before=False, word_embed_proj_dim=20), dict()),
    "opt_no_model_prefix": (dict(), dict(strip="model.")),
}


def randomise(model, generator):
    """Large enough that no logit row is flat: weights ~ N(0, 0.25), biases ~ N(0, 0.2), norm gains ~ N(1, 0.3)."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            p.data = 1 + 0.3 * noise
        else:
            p.data = (0.2 if name.endswith("bias") else 0.25) * noise


def rewrite_config(path, options):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters", None)
    place = options.get("place")
    if place in ("old", "none"):
        config.pop("head_dim")
        if config["num_key_value_heads"] == config["num_attention_heads"]:
            config.pop("num_key_value_heads")
    if place == "new":
        config["rope_parameters"] = rope
    elif place == "old":
        config["rope_theta"] = rope.pop("rope_theta")
        kind = rope.pop("rope_type")
        config["rope_scaling"] = None if kind == "default" else {options.get("type_key", "rope_type"): kind, **rope}
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.43.0"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_checkpoint(name, folder, seed):
    overrides, options = VARIANTS[name]
    generator = torch.Generator().manual_seed(seed)
    if name.startswith("opt"):
        model = OPTForCausalLM(OPTConfig(**{**OPT, **overrides}))
    else:
        model = LlamaForCausalLM(LlamaConfig(**{**LLAMA, **overrides}))
    randomise(model, generator)
    dtype = options.get("dtype", torch.float32)
    model.to(dtype)
    model.config.dtype = dtype
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_pretrained(folder, max_shard_size=options.get("shard", "1GB"))
    (folder / "generation_config.json").unlink(missing_ok=True)
    rewrite_config(folder / "config.json", options)
    if "strip" in options:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        stripped = {key.removeprefix(options["strip"]): value for key, value in weights.items()}
        safetensors.torch.save_file(stripped, folder / "model.safetensors", metadata={"format": "pt"})


@contextlib.contextmanager
def internal_casts_in_f64():
    """transformers casts norms, softmax and rotary angles to f32; here those casts go to f64 as well."""
    f32, to_float = torch.float32, torch.Tensor.float
    torch.float32, torch.Tensor.float = torch.float64, torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.Tensor.float = f32, to_float


def text_loss(logits, ids):
    """Mean of -log p(x_t | before) over t = 1..T-1; logits [T, V] are the text rows only."""
    return torch.nn.functional.cross_entropy(logits[:-1], ids[1:])


def greedy(model, ids):
    """Full forward per token; also the smallest lead of the winner, to see that no choice is a near-tie."""
    tokens, lead = ids[:GREEDY_FROM].clone(), float("inf")
    with torch.no_grad():
        for _ in range(GREEDY_NEW):
            best = model(input_ids=tokens[None], use_cache=False).logits[0, -1].topk(2)
            lead = min(lead, (best.values[0] - best.values[1]).item())
            tokens = torch.cat([tokens, best.indices[:1]])
    return tokens[GREEDY_FROM:], lead


def measure(model, ids, prompt):
    embed = model.get_input_embeddings()
    text = embed(ids).detach().requires_grad_()
    run = model(inputs_embeds=text[None], use_cache=False, output_hidden_states=True)
    loss = text_loss(run.logits[0], ids)
    loss.backward()
    soft = prompt.detach().clone().requires_grad_()
    with_prompt = model(inputs_embeds=torch.cat([soft, embed(ids).detach()])[None], use_cache=False).logits[0, K:]
    prompt_loss = text_loss(with_prompt, ids)
    prompt_loss.backward()
    tokens, lead = greedy(model, ids)
    same = model(input_ids=ids[None], use_cache=False).logits[0]
    assert (same - run.logits[0]).abs().max() < 1e-5, "embeddings and ids disagree"
    result = dict(logits=run.logits[0], loss=loss.reshape(1), input_grad=text.grad, prompt_logits=with_prompt,
                  prompt_loss=prompt_loss.reshape(1), prompt_grad=soft.grad,
                  hidden_after_block0=run.hidden_states[1][0])
    return {key: value.detach() for key, value in result.items()}, tokens, lead


def load(folder, dtype):
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    cls = OPTForCausalLM if kind == "opt" else LlamaForCausalLM
    model, info = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                      output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.to(dtype).eval()


def write_golden(name, folder, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    single, double = load(folder, torch.float32), load(folder, torch.float64)
    width = single.get_input_embeddings().weight.shape[1]
    ids = torch.randint(3, single.config.vocab_size, (T,), generator=generator)
    prompt = 0.3 * torch.randn(K, width, generator=generator)
    in_f32, tokens_f32, _ = measure(single, ids, prompt)
    with internal_casts_in_f64():
        in_f64, tokens, lead = measure(double, ids, prompt.double())
    assert all(value.dtype == torch.float64 for value in in_f64.values())
    assert torch.equal(tokens, tokens_f32) and lead > 1e-3, f"{name}: greedy near-tie, lead {lead}"
    worst = 0.0
    for key, value in in_f64.items():
        error = ((in_f32[key].double() - value).abs().max() / value.abs().max()).item()
        assert error < F32_NOISE, f"{name} {key}: f32 and f64 differ by {error:.1e}"
        worst = max(worst, error)
    tensors = {key: value.float().contiguous() for key, value in in_f64.items()}
    tensors |= dict(ids=ids.int(), greedy_ids=tokens.int(), prompt=prompt)
    safetensors.torch.save_file(tensors, folder / "golden.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    return worst, lead, in_f64["logits"].std().item(), in_f64["loss"].item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "models")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for seed, name in enumerate(VARIANTS):
        folder = out / name
        write_checkpoint(name, folder, 5 if name.startswith("llama_theta") else seed)
        worst, lead, spread, loss = write_golden(name, folder, seed)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name:22} {size / 1024:6.1f} KiB  f32-f64 {worst:.1e}  greedy lead {lead:.3f}  "
              f"logit std {spread:.2f}  loss {loss:.3f}")


if __name__ == "__main__":
    main()
