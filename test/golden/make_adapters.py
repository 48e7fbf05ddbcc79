"""Makes golden gradients of SPP and LoRA adapters on two of the models in models/.

    python make_adapters.py [--out DIR]       (default: adapters/ beside this script)

SPP is written out as its authors define it: the factors repeated to the weight's size, W' built, autograd through it.
LoRA is PEFT's own. The sums are in f64, from factors and weights that are f32 numbers; the gradients are stored as f32.
"""
import argparse
import json
import pathlib

import peft
import safetensors.torch
import torch
import transformers

from make_models import internal_casts_in_f64, load, text_loss

MODELS = ("llama_gqa_tied", "opt_post_norm_proj")
SPP_RANK, SPP_SCALE = 4, 2.0
LORA_RANK, LORA_ALPHA = 2, 3
F32_NOISE = 2e-5  # what an f32 run may be off, relative to the largest element: below the 1e-4 that tests allow


def linears(model):
    return [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "layers." in name]


def prune(model):
    """2:4: of row i, the columns c with (i + c) % 4 >= 2 are zero."""
    for _, m in linears(model):
        rows, columns = (torch.arange(size) for size in m.weight.shape)
        m.weight.data[(rows[:, None] + columns) % 4 >= 2] = 0


def with_spp(linear, alpha, beta):
    """Y = X W^T + s X (W * alpha_rep * beta)^T + bias, alpha [r, n] repeated over the m / r rows of each block."""
    def forward(x):
        w = linear.weight
        repeated = alpha.repeat_interleave(w.shape[0] // alpha.shape[0], dim=0)
        own = w * repeated * beta[:, None]
        return torch.nn.functional.linear(x, w, linear.bias) + SPP_SCALE * torch.nn.functional.linear(x, own)
    return forward


def loss_of(model, ids):
    return text_loss(model(input_ids=ids[None], use_cache=False).logits[0], ids)


def spp_run(model, dtype, ids, factors):
    prune(model)
    leaves = {}
    for name, linear in linears(model):
        alpha, beta = (factors[f"{name}.{part}"].to(dtype, copy=True).requires_grad_() for part in ("alpha", "beta"))
        leaves |= {f"{name}.alpha": alpha, f"{name}.beta": beta}
        linear.forward = with_spp(linear, alpha, beta)
    loss = loss_of(model, ids)
    loss.backward()
    return loss.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def lora_run(model, dtype, ids, factors):
    names = [name for name, _ in linears(model)]
    config = peft.LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=names, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config, autocast_adapter_dtype=False).to(dtype)
    leaves = {}
    for name in names:
        layer = model.get_submodule("base_model.model." + name)
        for part in ("A", "B"):
            weight = getattr(layer, "lora_" + part)["default"].weight
            weight.data = factors[f"{name}.{part}"].to(dtype)
            leaves[f"{name}.{part}"] = weight
    loss = loss_of(model, ids)
    loss.backward()
    return loss.detach(), {name: leaf.grad for name, leaf in leaves.items()}


def draw(folder, generator):
    spp, lora = {}, {}
    for name, linear in linears(load(folder, torch.float32)):
        m, n = linear.weight.shape
        spp[name + ".alpha"] = 0.5 * torch.randn(SPP_RANK, n, generator=generator)
        spp[name + ".beta"] = 0.5 * torch.randn(m, generator=generator)
        lora[name + ".A"] = 0.2 * torch.randn(LORA_RANK, n, generator=generator)
        lora[name + ".B"] = 0.2 * torch.randn(m, LORA_RANK, generator=generator)
    return {"spp": spp, "lora": lora}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    here = pathlib.Path(__file__).parent
    parser.add_argument("--out", type=pathlib.Path, default=here / "adapters")
    out = parser.parse_args().out
    out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    for seed, name in enumerate(MODELS):
        folder = here / "models" / name
        ids = safetensors.torch.load_file(folder / "golden.safetensors")["ids"].long()
        factors = draw(folder, torch.Generator().manual_seed(2000 + seed))
        tensors, worst = {}, 0.0
        for kind, run in (("spp", spp_run), ("lora", lora_run)):
            _, single = run(load(folder, torch.float32), torch.float32, ids, factors[kind])
            model = load(folder, torch.float64)
            with internal_casts_in_f64():
                loss, double = run(model, torch.float64, ids, factors[kind])
            tensors[kind + ".loss"] = loss.float().reshape(1)
            for key, gradient in double.items():
                assert gradient.dtype == torch.float64
                error = ((single[key].double() - gradient).abs().max() / gradient.abs().max()).item()
                assert error < F32_NOISE, f"{name} {kind} {key}: f32 and f64 differ by {error:.1e}"
                worst = max(worst, error)
                tensors[f"{kind}.{key}"] = factors[kind][key].contiguous()
                tensors[f"{kind}.{key}.grad"] = gradient.float().contiguous()
        settings = dict(spp_rank=SPP_RANK, spp_scale=SPP_SCALE, lora_rank=LORA_RANK,
                        lora_scale=LORA_ALPHA / LORA_RANK)
        file = out / (name + ".safetensors")
        safetensors.torch.save_file(tensors, file, metadata={"settings": json.dumps(settings)})
        file.chmod(0o644)
        print(f"{name:20} {file.stat().st_size / 1024:6.1f} KiB  f32-f64 {worst:.1e}  "
              f"loss spp {tensors['spp.loss'].item():.3f}  lora {tensors['lora.loss'].item():.3f}")


if __name__ == "__main__":
    main()
