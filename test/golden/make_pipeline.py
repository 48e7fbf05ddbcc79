"""Whole-model golden files: the authors' block-by-block pipelines on a trained LLaMA and on a tiny random OPT.

    python make_pipeline.py --sparsegpt DIR --gptq DIR --wanda DIR --model stories260K-DIR [--out DIR]

Windows are sampled from the models themselves, so no data set is copied. Dense weights, f32, one thread.
"""
import argparse
import contextlib
import functools
import json
import pathlib
import types

import numpy as np
import safetensors.numpy
import torch
import transformers
from transformers import AutoModelForCausalLM

import authors

PERCDAMP, BLOCK = 0.01, 128
# Settings of both families; `keep` lists the blocks whose codes are stored (all where it is missing).
SPARSE = {
    "sparsegpt_p50": dict(sparsity=0.5),
    "sparsegpt_2_4": dict(sparsity=0.5, prunen=2, prunem=4),
    "sparsegpt_p50_b4": dict(sparsity=0.5, wbits=4),
}
QUANT = {
    "gptq_b4": dict(wbits=4),
    "gptq_b3": dict(wbits=3),
    "gptq_b4_g32": dict(wbits=4, groupsize=32, keep=(0, 4)),
    "gptq_b4_act_seq": dict(wbits=4, act_order=True, true_sequential=True, keep=(0, 4)),
}
WANDA = {"wanda_p50": (0, 0), "wanda_2_4": (2, 4)}
OPT_SETTINGS = ("sparsegpt_p50", "gptq_b4")


def sample_windows(model, sequences, length, cut, first, seed):
    """Samples sequences at temperature 1 and cuts each into windows; only a sequence's first window has `first`."""
    generator = torch.Generator().manual_seed(seed)
    ids, cache = torch.full((sequences, 1), first), None
    with torch.no_grad():
        while ids.shape[1] < length:
            run = model(ids if cache is None else ids[:, -1:], past_key_values=cache, use_cache=True)
            cache = run.past_key_values
            draw = torch.multinomial(torch.softmax(run.logits[:, -1].double(), -1), 1, generator=generator)
            ids = torch.cat([ids, draw], 1)
    return ids.reshape(-1, cut)


def mean_loss(model, windows):
    """Mean cross entropy, in f64, of tokens 1..T-1 of every window, each window on its own from position 0."""
    model = model.double()
    with authors.in_f64(), torch.no_grad():
        logits = model(windows, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), windows[:, 1:].flatten()).item()


def linears(model):
    skip = ("lm_head", "project_in", "project_out")
    return {name: module for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and not name.endswith(skip)}


@contextlib.contextmanager
def callable_by_old_code(model, tokens):
    """The authors' loops call a block with hidden states and mask only and expect a tuple back."""
    inner = model.model
    rotary = getattr(inner, "rotary_emb", None)
    layers = inner.layers if rotary else inner.decoder.layers

    def call(forward, x, attention_mask=None, **_):
        extra = dict(position_embeddings=rotary(x, torch.arange(x.shape[1])[None])) if rotary else {}
        result = forward(x, attention_mask=attention_mask, **extra)
        return result if isinstance(result, tuple) else (result,)

    model.seqlen, model.hf_device_map = tokens, {}
    for layer in layers:
        layer.forward = functools.partial(call, layer.forward)
    try:
        with authors.quiet():
            yield
    finally:
        for layer in layers:
            del layer.forward


def run_sparsegpt(code, model, windows, options):
    """Codes of the joint mode come from the grids that the quantisers found, in the order of the linears."""
    module = code.opt if model.config.model_type == "opt" else code.llama
    entry = module.opt_sequential if model.config.model_type == "opt" else module.llama_sequential
    module.Quantizer = authors.recording(code.quant.Quantizer)
    module.args = types.SimpleNamespace(**{**dict(
        nsamples=len(windows), minlayer=-1, maxlayer=1000, prune_only="", invert=False, wbits=16, sparsity=0.0,
        prunen=0, prunem=0, percdamp=PERCDAMP, blocksize=BLOCK, true_sequential=False), **options})
    with callable_by_old_code(model, windows.shape[1]):
        entry(model, [(window[None],) for window in windows], torch.device("cpu"))
    return module.Quantizer.log


def run_gptq(code, model, windows, options):
    module = code.opt if model.config.model_type == "opt" else code.llama
    entry = module.opt_sequential if model.config.model_type == "opt" else module.llama_sequential
    module.Quantizer = authors.recording(code.quant.Quantizer)
    module.args = types.SimpleNamespace(**{**dict(
        nsamples=len(windows), sym=False, trits=False, percdamp=PERCDAMP, groupsize=-1, act_order=False,
        static_groups=False, true_sequential=False, nearest=False), **options})
    with callable_by_old_code(model, windows.shape[1]):
        entry(model, [(window[None],) for window in windows], torch.device("cpu"))
    return module.Quantizer.log


def run_wanda(code, model, windows, pattern):
    batches = [(window[None],) for window in windows]
    code.get_loaders = lambda *_, **__: (batches, None)
    args = types.SimpleNamespace(nsamples=len(batches), seed=0, sparsity_ratio=0.5, use_variant=False)
    with callable_by_old_code(model, windows.shape[1]):
        code.prune_wanda(args, model, None, torch.device("cpu"), prune_n=pattern[0], prune_m=pattern[1])


def order_of_solving(names, true_sequential):
    """The order in which the authors solve the linears of each block: as defined, or in their four groups."""
    if not true_sequential:
        return names
    rank = {end: i for i, end in enumerate(("k_proj", "v_proj", "q_proj", "o_proj", "up_proj", "gate_proj",
                                            "down_proj"))}
    return sorted(names, key=lambda name: (int(name.split(".")[2]), rank[name.split(".")[-1]]))


def all_codes(model, log, options):
    """Codes [m, n] of every linear; a grouped solve finds one grid for the whole layer first, then one per group."""
    grids, result = iter(log), {}
    layers = linears(model)
    for name in order_of_solving(list(layers), options.get("true_sequential")):
        w = layers[name].weight.data
        size = options.get("groupsize", w.shape[1])
        found = [next(grids)] + [next(grids) for _ in range(-(-w.shape[1] // size)) if "groupsize" in options]
        scale, zero = (torch.stack([grid[i] for grid in found[1:] or found], 1) for i in (0, 1))
        group = torch.arange(w.shape[1]) // size
        codes = torch.round(w / scale[:, group]) + zero[:, group]
        assert torch.equal(scale[:, group] * (codes - zero[:, group]), w), f"{name} is off its grid"
        result[name] = codes.to(torch.uint8).numpy()
    assert next(grids, None) is None
    return result


def pack(values, bits):
    """Row-major values as one stream of bits, least significant bit first, padded with zeros to whole bytes."""
    stream = (values.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")


def compress(code, model, windows, name):
    """One setting: the compressed model, and per linear what is compared with (bits wide) under its full name."""
    options = dict(SPARSE.get(name) or QUANT.get(name) or {})
    keep, bits = options.pop("keep", None), options.get("wbits")
    if name in SPARSE:
        log = run_sparsegpt(code["sparsegpt"], model, windows, options)
    elif name in QUANT:
        log = run_gptq(code["gptq"], model, windows, options)
    else:
        log = run_wanda(code["wanda"], model, windows, WANDA[name])
    tensors = {}
    if bits:
        for key, codes in all_codes(model, log, options).items():
            if keep is None or int(key.split(".")[2]) in keep:
                tensors[f"{key}.codes"] = (codes, bits)
    else:
        for key, layer in linears(model).items():
            tensors[f"{key}.mask"] = ((layer.weight.data == 0).numpy().astype(np.uint8), 1)
    return model, tensors


def write(code, load, out, names, windows, eval_windows):
    out.mkdir(parents=True, exist_ok=True)
    for file, ids in (("windows.json", windows), ("eval_windows.json", eval_windows)):
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in ids.tolist())
        (out / file).write_text(f"[{rows}]\n")
    losses = {"dense": mean_loss(load(), eval_windows)}
    print(f"{out.name}: dense {losses['dense']:.6f}")
    for name in names:
        model, tensors = compress(code, load(), windows, name)
        losses[name] = mean_loss(model, eval_windows)
        exact_model = load().double()
        with authors.in_f64():
            exact_model, exact = compress(code, exact_model, windows, name)
        exact_loss = mean_loss(exact_model, eval_windows)
        equal = {key: (value == exact[key][0]).mean() for key, (value, _) in tensors.items()}
        worst = min(equal, key=equal.get)
        bits = next(iter(tensors.values()))[1]
        safetensors.numpy.save_file({key: pack(*value) for key, value in tensors.items()},
                                    out / f"{name}.safetensors", metadata={"bits": str(bits)})
        (out / f"{name}.safetensors").chmod(0o644)
        print(f"  {name:18} loss {losses[name]:.6f} (in f64 {exact_loss:.6f}); f32 and f64 agree in "
              f"{np.mean(list(equal.values())):.5f}, least {equal[worst]:.5f} at {worst}")
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sparsegpt", "gptq", "wanda", "model"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    here = pathlib.Path(__file__).parent
    parser.add_argument("--out", type=pathlib.Path, default=here / "pipeline")
    args = parser.parse_args()
    torch.set_num_threads(1)
    authors.stand_in_for_the_gpu()
    solvers = {name: types.SimpleNamespace(**dict(zip(("llama", "opt", "quant"), authors.import_from(
        getattr(args, name), ["llama", "opt", "quant"], stubs=["wandb"])))) for name in ("sparsegpt", "gptq")}
    code = dict(solvers, wanda=authors.import_wanda(args.wanda))
    load = functools.partial(AutoModelForCausalLM.from_pretrained, dtype=torch.float32, attn_implementation="eager")
    llama, opt = (functools.partial(load, path) for path in (args.model, here / "models" / "opt_pre_norm"))
    losses = {
        "stories260K": write(code, llama, args.out, [*SPARSE, *WANDA, *QUANT],
                             sample_windows(llama().eval(), 8, 512, 128, 1, seed=1),
                             sample_windows(llama().eval(), 4, 512, 128, 1, seed=2)),
        "opt_pre_norm": write(code, opt, args.out / "opt", OPT_SETTINGS,
                              sample_windows(opt().eval(), 32, 48, 48, 2, seed=3),
                              sample_windows(opt().eval(), 16, 48, 48, 2, seed=4))}
    made_with = dict(torch=torch.__version__, transformers=transformers.__version__,
                     **{name: authors.commit(getattr(args, name)) for name in code})
    (args.out / "losses.json").write_text(json.dumps(
        dict(losses=losses, percdamp=PERCDAMP, blocksize=BLOCK, made_with=made_with), indent=1) + "\n")


if __name__ == "__main__":
    main()
