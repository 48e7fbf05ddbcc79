"""Loads exports of a model in the programs they are for, and compares their logits with those of sinter.

    python check_exports.py MODEL --sinter build/sinter [--gptqmodel DIR] [--ids 1,5,9] [--to dense,gptq,compressed-tensors]

MODEL is what `sinter compress` wrote (codes on a grid for gptq and compressed-tensors). Every format is exported into a
temporary directory, read by transformers in f32 (with compressed-tensors, or with GPTQModel's unpacking; --gptqmodel
names an unpacked source if it is not installed), and run on the ids. Fails above 1e-3 of the largest logit.

GPTQ is checked three times: `unpacked` with the weights as GPTQModel unpacks them, in f32; `in transformers`, which takes
GPTQModel's linears (and the package optimum); and `as run` with GPTQModel's own loader and kernel, which compute in f16
(to 1e-2: that is the rounding of f16, not of the file). Asymmetric grids in compressed-tensors are checked unpacked only:
transformers 5.23 does not load them, nor those that the library writes.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM

LIMIT, HALF_LIMIT = 1e-3, 1e-2


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def load_gptq(directory):
    from gptqmodel import BACKEND, GPTQModel
    return GPTQModel.load(str(directory), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16).model


def state_of(directory):
    state = {}
    for file in directory.glob("*.safetensors"):
        state.update(safetensors.torch.load_file(file))
    return state


def plain_model(directory, weights):
    """An f32 model with these weights of linears, and the other tensors of the files."""
    config = AutoConfig.from_pretrained(directory)
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    result = plain.load_state_dict(state_of(directory) | weights, strict=False)
    assert all(name == "lm_head.weight" for name in result.missing_keys), result.missing_keys
    return plain


def unpack_gptq(model):
    """The weights as GPTQModel unpacks them, with f32 scales."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    weights = {}
    for name, module in model.named_modules():
        if isinstance(module, TorchLinear):
            module.scales = module.scales.float()
            weights[name + ".weight"] = type(module).dequantize_weight(module).T.float()
    return weights


def unpack_compressed(directory):
    """The weights as compressed-tensors unpacks them. Only for one group of settings."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    config = json.loads((directory / "config.json").read_text())["quantization_config"]
    (group,) = config["config_groups"].values()
    scheme = QuantizationScheme(**group)
    compressor = BaseCompressor.get_value_from_registry(config["format"])
    state, weights = state_of(directory), {}
    for key in state:
        if key.endswith(".weight_packed"):
            name = key.removesuffix(".weight_packed")
            parts = {k.removeprefix(name + "."): t for k, t in state.items() if k.startswith(name + ".weight_")}
            parts["weight_scale"] = parts["weight_scale"].float()
            weights[name + ".weight"] = compressor.decompress(parts, scheme)["weight"]
    return weights, scheme.weights.symmetric


def versions():
    import importlib.metadata
    found = []
    for package in ("torch", "transformers", "compressed-tensors", "safetensors"):
        found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--sinter", required=True)
    parser.add_argument("--gptqmodel", help="folder with the package gptqmodel")
    parser.add_argument("--ids", default="1,5,9,20,33,44,7,90,61,12")
    parser.add_argument("--to", default="dense,gptq,compressed-tensors")
    args = parser.parse_args()
    if args.gptqmodel:
        sys.path.insert(0, args.gptqmodel)
    ids = [int(i) for i in args.ids.split(",")]
    failed = False

    def run(*command):
        subprocess.run([args.sinter, *map(str, command), "--quiet"], check=True, stdout=subprocess.DEVNULL)

    def compare(what, got, reference, limit=LIMIT):
        nonlocal failed
        error = float((got - reference).abs().max() / reference.abs().max())
        same = float((got.argmax(1) == reference.argmax(1)).float().mean())
        failed |= not error <= limit
        print(f"{what:28s} largest difference {error:.2e} of the largest logit, same best token {100 * same:.0f} %")

    print(versions())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run("logits", args.model, "--ids", args.ids, "--out", folder / "reference.safetensors")
        reference = safetensors.torch.load_file(folder / "reference.safetensors")["logits"]
        for form in args.to.split(","):
            out = folder / form
            run("export", args.model, "--to", form, "--out", out, "--json", folder / "export.json")
            report = json.loads((folder / "export.json").read_text())
            print(f"{form}: {report['bytes']} bytes, {report['bits_per_weight']:.3f} bits per weight, "
                  f"exact: {report['exact']}, notes: {report['notes']}")
            if form == "gptq":
                model = load_gptq(out)
                compare("gptq as run in f16", logits_of(model, ids), reference, HALF_LIMIT)
                compare("gptq unpacked", logits_of(plain_model(out, unpack_gptq(model)), ids), reference)
                model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, device_map="cpu")
                compare("gptq in transformers", logits_of(model, ids), reference)
                continue
            symmetric = True
            if form == "compressed-tensors":
                weights, symmetric = unpack_compressed(out)
                compare(form + " unpacked", logits_of(plain_model(out, weights), ids), reference)
            if symmetric:
                model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
                compare(form, logits_of(model, ids), reference)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
