"""Whole-model golden files: the authors' block-by-block pipelines on a trained LLaMA and on a tiny random OPT.

    python make_pipeline.py --sparsegpt DIR --gptq DIR --wanda DIR --dsnot DIR --model stories260K-DIR [--out DIR]

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
# Fewer swaps than would exhaust the pruned weights of one sign, where DSnoT's code prunes kept ones for nothing.
CYCLES = {"llama": 5, "opt": 3}
# One row in so many is stored, which keeps the files small.
ROW_STEP = {"stories260K": 5, "opt_pre_norm": 1}
# Widths that 8 does not divide: the settings of groups of 8 leave these linears dense.
ODD = ("down_proj", "fc2")
SPARSE = {
    "sparsegpt_p50": dict(sparsity=0.5),
    "sparsegpt_p75": dict(sparsity=0.75),
    "sparsegpt_2_4": dict(sparsity=0.5, prunen=2, prunem=4),
    "sparsegpt_4_8": dict(sparsity=0.5, prunen=4, prunem=8, skip=ODD),
    "sparsegpt_2_8": dict(sparsity=0.75, prunen=6, prunem=8, skip=ODD),
    "sparsegpt_p50_b4": dict(sparsity=0.5, wbits=4),
    "sparsegpt_2_4_b4": dict(sparsity=0.5, prunen=2, prunem=4, wbits=4),
}
QUANT = {
    "gptq_b2": dict(wbits=2),
    "gptq_b3": dict(wbits=3),
    "gptq_b4": dict(wbits=4),
    "gptq_b8": dict(wbits=8),
    "gptq_b4_act": dict(wbits=4, act_order=True),
    "gptq_b4_sym": dict(wbits=4, sym=True),
    "gptq_b3_mse": dict(wbits=3, mse=True),
    "gptq_b4_g16": dict(wbits=4, groupsize=16),
    "gptq_b3_g16_static_act": dict(wbits=3, groupsize=16, static_groups=True, act_order=True),
    "gptq_b4_act_seq": dict(wbits=4, act_order=True, true_sequential=True),
}
PRUNE = {
    "wanda_p50": dict(tool="wanda"),
    "wanda_2_4": dict(tool="wanda", pattern=(2, 4)),
    "wanda_4_8": dict(tool="wanda", pattern=(4, 8), skip=ODD),
    "wanda_variant_p50": dict(tool="wanda", variant=True),
    "magnitude_p50": dict(tool="magnitude"),
    "magnitude_2_4": dict(tool="magnitude", pattern=(2, 4)),
    "magnitude_4_8": dict(tool="magnitude", pattern=(4, 8), skip=ODD),
    "dsnot_wanda_p60": dict(tool="dsnot", initial="wanda", sparsity=0.6),
    "dsnot_magnitude_p60": dict(tool="dsnot", initial="magnitude", sparsity=0.6),
    "dsnot_sparsegpt_p60": dict(tool="dsnot", initial="sparsegpt", sparsity=0.6),
    "dsnot_wanda_p60_attention": dict(tool="dsnot", initial="wanda", sparsity=0.6, skip_layer="mlp"),
    "dsnot_wanda_2_4": dict(tool="dsnot", initial="wanda", pattern=(2, 4)),
    "dsnot_magnitude_2_4": dict(tool="dsnot", initial="magnitude", pattern=(2, 4)),
}
# What the OPT scripts lack: the variant, true-sequential. DSnoT's n:m knows the names of attention only, and where a
# unit of fc2's input never fires it divides 0 by 0 and grows that one first.
NOT_OPT = ("wanda_variant_p50", "gptq_b4_act_seq")
OPT_SKIP = {"dsnot_wanda_2_4": ("fc1", "fc2"), "dsnot_magnitude_2_4": ("fc1", "fc2"), "dsnot_wanda_p60": ("fc2",),
            "dsnot_magnitude_p60": ("fc2",), "dsnot_sparsegpt_p60": ("fc2",)}


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
def leaving_out(module, skip):
    """Hides the linears whose names end so from an authors' module."""
    find = module.find_layers
    module.find_layers = lambda *args, **more: {
        name: layer for name, layer in find(*args, **more).items() if not name.endswith(skip)}
    try:
        yield
    finally:
        module.find_layers = find


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
    skip = options.pop("skip", ())
    module.args = types.SimpleNamespace(**{**dict(
        nsamples=len(windows), minlayer=-1, maxlayer=1000, prune_only="", invert=False, wbits=16, sparsity=0.0,
        prunen=0, prunem=0, percdamp=PERCDAMP, blocksize=BLOCK, true_sequential=False), **options})
    with callable_by_old_code(model, windows.shape[1]), leaving_out(module, skip):
        entry(model, [(window[None],) for window in windows], torch.device("cpu"))
    return module.Quantizer.log


def run_gptq(code, model, windows, options):
    module = code.opt if model.config.model_type == "opt" else code.llama
    entry = module.opt_sequential if model.config.model_type == "opt" else module.llama_sequential
    module.Quantizer = authors.recording(code.quant.Quantizer, options.pop("mse", False))
    module.args = types.SimpleNamespace(**{**dict(
        nsamples=len(windows), sym=False, trits=False, percdamp=PERCDAMP, groupsize=-1, act_order=False,
        static_groups=False, true_sequential=False, nearest=False), **options})
    with callable_by_old_code(model, windows.shape[1]):
        entry(model, [(window[None],) for window in windows], torch.device("cpu"))
    return module.Quantizer.log


def run_pruning(code, model, windows, options):
    """Wanda, magnitude and DSnoT. OPT's module of Wanda has all of them, DSnoT's its own method only."""
    opt = model.config.model_type == "opt"
    tool, samples = options["tool"], len(windows)
    module = code["dsnot" if tool == "dsnot" else "wanda"][opt]
    module.get_loaders = lambda *_, **__: ([(window[None],) for window in windows], None)
    function = getattr(module, {"wanda": "prune_wanda", "magnitude": "prune_magnitude",
                                "dsnot": "prune_DSnoT_opt" if opt else "prune_DSnoT"}[tool])
    if tool == "dsnot":
        args = authors.dsnot_arguments(options["initial"], CYCLES[model.config.model_type], samples,
                                       options.get("sparsity", 0.5), skip_layer=options.get("skip_layer", "no_skip"))
    else:
        args = types.SimpleNamespace(nsamples=samples, seed=0, sparsity_ratio=0.5,
                                     use_variant=options.get("variant", False))
    n, m = options.get("pattern", (0, 0))
    with callable_by_old_code(model, windows.shape[1]), leaving_out(module, options.get("skip", ())):
        function(args, model, None, torch.device("cpu"), prune_n=n, prune_m=m)
    if tool == "dsnot":
        check_zeros(model, args.sparsity_ratio, options.get("skip", ()))


def check_zeros(model, share, skip):
    for name, layer in linears(model).items():
        expected = int(layer.in_features * share)
        rows = ((layer.weight.data == 0).sum(1) != expected).sum().item()
        assert rows == 0 or name.endswith(skip), f"{rows} rows of {name} have not {expected} zeros"


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


def compress(code, model, windows, name):
    """One setting: per linear what is compared with (bits wide) under its full name."""
    options = dict(SPARSE.get(name) or QUANT.get(name) or PRUNE.get(name))
    if model.config.model_type == "opt" and name in OPT_SKIP:
        options["skip"] = OPT_SKIP[name]
    bits, skip, log = options.get("wbits", 1), options.get("skip", ()), []
    if name in SPARSE:
        log = run_sparsegpt(code["sparsegpt"], model, windows, options)
    elif name in QUANT:
        log = run_gptq(code["gptq"], model, windows, options)
    else:
        run_pruning(code, model, windows, options)
    if bits > 1:
        return bits, all_codes(model, log, options)
    return bits, {key: (layer.weight.data == 0).numpy().astype(np.uint8) for key, layer in linears(model).items()
                  if not key.endswith(skip)}


def write(code, load, out, name, settings, step, windows, eval_windows):
    """`step`: of every linear, the rows 0, step, 2 step, .. are stored."""
    for kind, ids in (("windows", windows), ("eval_windows", eval_windows)):
        rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in ids.tolist())
        (out / f"{name}.{kind}.json").write_text(f"[{rows}]\n")
    losses, widths, tensors = {"dense": mean_loss(load(), eval_windows)}, {}, {}
    print(f"{name}: dense {losses['dense']:.6f}")
    for setting in settings:
        model = load()
        widths[setting], found = compress(code, model, windows, setting)
        losses[setting] = mean_loss(model, eval_windows)
        exact_model = load().double()
        with authors.in_f64():
            _, exact = compress(code, exact_model, windows, setting)
        exact_loss = mean_loss(exact_model, eval_windows)
        equal = {key: (value == exact[key]).mean() for key, value in found.items()}
        worst = min(equal, key=equal.get)
        print(f"  {setting:26} loss {losses[setting]:.6f} (in f64 {exact_loss:.6f}); f32 and f64 agree in "
              f"{np.mean(list(equal.values())):.5f}, least {equal[worst]:.5f} at {worst}")
        tensors |= {f"{setting}/{key}": authors.pack(np.ascontiguousarray(value[::step]), widths[setting])
                    for key, value in found.items()}
    file = out / f"{name}.safetensors"
    safetensors.numpy.save_file(tensors, file)
    file.chmod(0o644)
    return losses, widths


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sparsegpt", "gptq", "wanda", "dsnot", "model"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    here = pathlib.Path(__file__).parent
    parser.add_argument("--out", type=pathlib.Path, default=here / "pipeline")
    args = parser.parse_args()
    torch.set_num_threads(1)
    authors.stand_in_for_the_gpu()
    solvers = {name: types.SimpleNamespace(**dict(zip(("llama", "opt", "quant"), authors.import_from(
        getattr(args, name), ["llama", "opt", "quant"], stubs=["wandb"])))) for name in ("sparsegpt", "gptq")}
    code = dict(solvers, wanda=authors.import_pruning(args.wanda), dsnot=authors.import_pruning(args.dsnot))
    for module in code["dsnot"]:
        module.WrappedGPT = authors.accumulating(module.WrappedGPT)
    load = functools.partial(AutoModelForCausalLM.from_pretrained, dtype=torch.float32, attn_implementation="eager")
    llama, opt = (functools.partial(load, path) for path in (args.model, here / "models" / "opt_pre_norm"))
    args.out.mkdir(parents=True, exist_ok=True)
    settings = [*SPARSE, *PRUNE, *QUANT]
    runs = {
        "stories260K": write(code, llama, args.out, "stories260K", settings, ROW_STEP["stories260K"],
                             sample_windows(llama().eval(), 8, 512, 128, 1, seed=14),
                             sample_windows(llama().eval(), 4, 512, 128, 1, seed=2)),
        "opt_pre_norm": write(code, opt, args.out, "opt_pre_norm", [s for s in settings if s not in NOT_OPT],
                              ROW_STEP["opt_pre_norm"],
                              sample_windows(opt().eval(), 32, 48, 48, 2, seed=3),
                              sample_windows(opt().eval(), 16, 48, 48, 2, seed=4))}
    made_with = dict(torch=torch.__version__, transformers=transformers.__version__,
                     **{name: authors.commit(getattr(args, name)) for name in code})
    (args.out / "losses.json").write_text(json.dumps(
        dict(losses={name: run[0] for name, run in runs.items()}, bits={name: run[1] for name, run in runs.items()},
             percdamp=PERCDAMP, blocksize=BLOCK, dsnot_cycles=CYCLES, row_step=ROW_STEP,
             made_with=made_with), indent=1) + "\n")


if __name__ == "__main__":
    main()
