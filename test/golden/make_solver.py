"""Layer-level golden files from the authors' own solver code.

    python make_solver.py --sparsegpt DIR --gptq DIR --wanda DIR --dsnot DIR [--out DIR]

DIR are checkouts of IST-DASLab/sparsegpt, IST-DASLab/gptq, locuslab/wanda and zyxxmu/DSnoT. Each file holds the inputs
of one random linear layer (correlated inputs, rounded to f16 and used as f32) and what every method makes of it.
"""
import argparse
import functools
import json
import pathlib
import types

import safetensors.torch
import torch
import torch.nn as nn

import authors

SEQUENCES, TOKENS, BLOCK, PERCDAMP = 3, 64, 128, 0.01
# rows, columns, column that no input excites
CASES = [(24, 40, 5), (21, 37, None), (40, 64, None), (21, 172, None), (16, 160, None)]


def make_layer(rows, columns, dead, seed):
    """Inputs x = z A with a decaying spectrum and a few loud channels, as real activations have."""
    generator = torch.Generator().manual_seed(seed)
    randn = functools.partial(torch.randn, generator=generator)
    mixing = randn(columns, columns) / columns ** 0.5 + torch.eye(columns)
    loudness = torch.exp(0.7 * randn(columns))
    x = (randn(SEQUENCES, TOKENS, columns) @ mixing) * loudness
    if dead is not None:
        x[:, :, dead] = 0
    return x.half(), 0.1 * randn(rows, columns)


def linear(w, dtype):
    layer = nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = w.to(dtype).clone()
    return layer


def feed(solver, x, dtype):
    for sequence in x:
        solver.add_batch(sequence[None].to(dtype), None)


def codes_of(q, scale, zero, g_idx):
    """Codes [m, n] of weights on the grid scale, zero [m, G]; fails unless they give back the weights exactly."""
    s, z = scale[:, g_idx], zero[:, g_idx]
    codes = torch.round(q / s) + z
    assert torch.equal(s * (codes - z), q), "a weight is off its grid"
    return codes.to(torch.uint8)


def sparsegpt_runs(code, x, w, dtype):
    sparse, quant = code
    settings = {"sparsegpt_p50": dict(sparsity=0.5), "sparsegpt_p75": dict(sparsity=0.75),
                "sparsegpt_p50_b4": dict(sparsity=0.5, bits=4)}
    if w.shape[1] % 4 == 0:
        settings["sparsegpt_2_4"] = dict(sparsity=0.5, prunen=2, prunem=4)
        settings["sparsegpt_2_4_b4"] = dict(sparsity=0.5, prunen=2, prunem=4, bits=4)
    if w.shape[1] % 8 == 0:
        settings["sparsegpt_4_8"] = dict(sparsity=0.5, prunen=4, prunem=8)
        settings["sparsegpt_2_8"] = dict(sparsity=0.75, prunen=6, prunem=8)
    result = {}
    for name, options in settings.items():
        bits = options.pop("bits", None)
        layer = linear(w, dtype)
        solver = sparse.SparseGPT(layer)
        if bits:
            solver.quantizer = quant.Quantizer()
            solver.quantizer.configure(bits, perchannel=True, sym=False, mse=False)
        feed(solver, x, dtype)
        loss = authors.printed_error(functools.partial(
            solver.fasterprune, **options, blocksize=BLOCK, percdamp=PERCDAMP))
        result[f"{name}.w"] = layer.weight.data
        result[f"{name}.loss"] = torch.tensor([loss])
        if bits:
            result[f"{name}.scale"] = solver.quantizer.scale.flatten()[:, None]
            result[f"{name}.zero"] = solver.quantizer.zero.flatten()[:, None]
    return result


def gptq_settings(columns):
    settings = {f"gptq_b{bits}": dict(bits=bits) for bits in (2, 3, 4, 8)}
    settings["gptq_b4_act"] = dict(bits=4, actorder=True)
    settings["gptq_b4_sym"] = dict(bits=4, sym=True)
    settings["gptq_b4_mse"] = dict(bits=4, mse=True)
    settings["gptq_b3_sym_mse"] = dict(bits=3, sym=True, mse=True)
    settings["gptq_b3_sym_g32"] = dict(bits=3, sym=True, groupsize=32)
    settings["gptq_b4_g32"] = dict(bits=4, groupsize=32)
    settings["gptq_b4_g32_act"] = dict(bits=4, groupsize=32, actorder=True)
    settings["gptq_b4_g32_static_act"] = dict(bits=4, groupsize=32, actorder=True, static_groups=True)
    settings["gptq_b2_g32_static"] = dict(bits=2, groupsize=32, static_groups=True)
    if columns > 128:
        settings["gptq_b4_g128"] = dict(bits=4, groupsize=128)
    return settings


def group_of_columns(columns, options, perm):
    """g_idx [n] in the original order of columns, and the number of groups."""
    size = options.get("groupsize", columns)
    position = torch.arange(columns)
    if options.get("actorder") and not options.get("static_groups"):
        position = torch.argsort(perm)
    return position // size, -(-columns // size)


def gptq_runs(code, x, w, dtype):
    solver_module, quant = code
    result = {}
    for name, options in gptq_settings(w.shape[1]).items():
        bits, sym, mse = options.pop("bits"), options.pop("sym", False), options.pop("mse", False)
        layer = linear(w, dtype)
        solver = solver_module.GPTQ(layer)
        quantizer_class = authors.recording(quant.Quantizer, mse)
        solver.quantizer = quantizer_class()
        solver.quantizer.configure(bits, perchannel=True, sym=sym)
        feed(solver, x, dtype)
        diagonal = torch.diag(solver.H).clone()
        diagonal[diagonal == 0] = 1
        perm = torch.argsort(diagonal, descending=True)
        loss = authors.printed_error(functools.partial(
            solver.fasterquant, **options, blocksize=BLOCK, percdamp=PERCDAMP))
        g_idx, groups = group_of_columns(w.shape[1], options, perm)
        log = quantizer_class.log[-groups:]
        scale, zero = (torch.stack([entry[i] for entry in log], 1) for i in (0, 1))
        result[f"{name}.codes"] = codes_of(layer.weight.data, scale, zero, g_idx)
        result[f"{name}.scale"], result[f"{name}.zero"] = scale, zero
        result[f"{name}.loss"] = torch.tensor([loss])
        if "groupsize" in options:
            result[f"{name}.g_idx"] = g_idx.int()
        if options.get("actorder"):
            result[f"{name}.perm"] = perm.int()
    return result


def nearest_runs(quant, w, dtype):
    """Rounding to nearest, as the GPTQ scripts do it before evaluation."""
    result = {}
    for name, bits, sym in (("rtn_b2", 2, False), ("rtn_b3", 3, False), ("rtn_b4", 4, False), ("rtn_b4_sym", 4, True)):
        quantizer, w = quant.Quantizer(), w.to(dtype)
        quantizer.configure(bits, perchannel=True, sym=sym, mse=False)
        quantizer.find_params(w, weight=True)
        scale, zero = quantizer.scale, quantizer.zero
        q = quant.quantize(w, scale, zero, quantizer.maxq)
        result[f"{name}.codes"] = codes_of(q, scale, zero, torch.zeros(w.shape[1], dtype=torch.long))
        result[f"{name}.scale"], result[f"{name}.zero"] = scale, zero
    return result


class OneLayer(nn.Module):
    """The smallest thing that Wanda's pruning loop takes for a model: one block with one linear layer."""

    class Block(nn.Module):
        def __init__(self, fc):
            super().__init__()
            self.self_attn = nn.Module()  # DSnoT looks at the parts of the name
            self.self_attn.fc = fc

        def forward(self, x, attention_mask=None, position_ids=None):
            self.self_attn.fc(x)
            return (x,)

    def __init__(self, fc, tokens):
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList([self.Block(fc)])
        self.config = types.SimpleNamespace(use_cache=False, hidden_size=fc.in_features)
        self.seqlen, self.hf_device_map = tokens, {}

    def forward(self, x):
        return self.model.layers[0](x, attention_mask=None, position_ids=None)


def pruned_mask(function, module, args, x, w, dtype, n, m):
    """The mask (1 = pruned) that a pruning function makes of one linear; surviving weights must be untouched."""
    batches = [(sequence[None].to(dtype),) for sequence in x]
    module.get_loaders = lambda *_, **__: (batches, None)
    model = OneLayer(linear(w, dtype), x.shape[1])
    with authors.quiet(), torch.no_grad():
        function(args, model, None, torch.device("cpu"), prune_n=n, prune_m=m)
    after = model.model.layers[0].self_attn.fc.weight.data
    mask = after == 0
    assert torch.equal(after, torch.where(mask, 0.0, w.to(dtype)))
    return mask.to(torch.uint8)


def patterns_of(columns):
    grouped = {f"{n}_{m}": (n, m) for n, m in ((2, 4), (4, 8)) if columns % m == 0}
    return {"p50": (0, 0)} | grouped


def wanda_runs(prune, x, w, dtype):
    result = {}
    args = types.SimpleNamespace(nsamples=len(x), seed=0, sparsity_ratio=0.5, use_variant=False)
    for method, function in (("wanda", prune.prune_wanda), ("magnitude", prune.prune_magnitude)):
        for pattern, (n, m) in patterns_of(w.shape[1]).items():
            result[f"{method}_{pattern}.mask"] = pruned_mask(function, prune, args, x, w, dtype, n, m)
    args.use_variant = True
    result["wanda_variant_p50.mask"] = pruned_mask(prune.prune_wanda, prune, args, x, w, dtype, 0, 0)
    return result


def dsnot_runs(prune, x, w, dtype):
    """As many cycles as cannot exhaust the pruned weights of one sign: past them the code prunes kept weights."""
    columns = w.shape[1]
    result = {}
    patterns = {"p60": (0, 0, False), "p60_same_sign": (0, 0, True)}
    patterns |= {name: (n, m, True) for name, (n, m) in patterns_of(columns).items() if m}  # n:m knows no other way
    for initial in ("wanda", "magnitude", "sparsegpt"):
        for pattern, (n, m, same_sign) in patterns.items():
            share = 0.5 if m else 0.6
            args = authors.dsnot_arguments(initial, columns // 8, len(x), share, same_sign)
            mask = pruned_mask(prune.prune_DSnoT, prune, args, x, w, dtype, n, m)
            assert (mask.sum(1) == int(columns * share)).all(), (initial, pattern)
            result[f"dsnot_{initial}_{pattern}.mask"] = mask
    return result


def all_runs(code, x, w, dtype, dead):
    """DSnoT's code divides 0 by 0 at a column that no input excites, and grows that one first."""
    with torch.no_grad():
        return (sparsegpt_runs(code["sparsegpt"], x, w, dtype) | gptq_runs(code["gptq"], x, w, dtype)
                | nearest_runs(code["gptq"][1], w, dtype) | wanda_runs(code["wanda"], x, w, dtype)
                | ({} if dead is not None else dsnot_runs(code["dsnot"], x, w, dtype)))


def packed(key, value):
    """Masks and codes as streams of bits."""
    name, _, kind = key.rpartition(".")
    if kind not in ("mask", "codes"):
        return value.contiguous()
    bits = 1 if kind == "mask" else int(name.split("_")[1][1:])
    return torch.from_numpy(authors.pack(value.numpy(), bits))


def agreement(a, b):
    """Per setting, the share of equal masks or codes of two runs."""
    shares = {}
    for key in a:
        name, kind = key.rsplit(".", 1)
        if kind == "w":
            shares[name] = ((a[key] == 0) == (b[key] == 0)).float().mean().item()
        elif kind in ("codes", "mask"):
            shares[name] = (a[key] == b[key]).float().mean().item()
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sparsegpt", "gptq", "wanda", "dsnot"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "solver")
    args = parser.parse_args()
    torch.set_num_threads(1)
    authors.stand_in_for_the_gpu()
    code = dict(sparsegpt=authors.import_from(args.sparsegpt, ["sparsegpt", "quant"]),
                gptq=authors.import_from(args.gptq, ["gptq", "quant"]),
                wanda=authors.import_pruning(args.wanda)[0], dsnot=authors.import_pruning(args.dsnot)[0])
    code["dsnot"].WrappedGPT = authors.accumulating(code["dsnot"].WrappedGPT)
    commits = {name: authors.commit(getattr(args, name)) for name in code}
    args.out.mkdir(parents=True, exist_ok=True)
    for seed, (rows, columns, dead) in enumerate(CASES):
        x, w = make_layer(rows, columns, dead, seed)
        result = all_runs(code, x, w, torch.float32, dead)
        with authors.in_f64():
            exact = all_runs(code, x, w, torch.float64, dead)
        shares = agreement(result, exact)
        settings = dict(commits, blocksize=BLOCK, percdamp=PERCDAMP, torch=torch.__version__,
                        h="2 / sequences * sum of x x^T", device="cpu", dtype="f32")
        metadata = {"made_with": json.dumps(settings)}  # one key: safetensors writes several in a random order
        file = args.out / f"{rows}x{columns}.safetensors"
        tensors = {key: packed(key, value) for key, value in (dict(x=x, w=w) | result).items()}
        safetensors.torch.save_file(tensors, file, metadata=metadata)
        file.chmod(0o644)
        print(f"{file.name}: {file.stat().st_size / 1024:.1f} KiB; equal in f32 and f64:",
              ", ".join(f"{name} {share:.4f}" for name, share in shares.items() if share < 1) or "all")


if __name__ == "__main__":
    main()
