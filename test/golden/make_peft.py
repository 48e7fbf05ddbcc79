"""Makes adapters that PEFT trained and saved, with the logits that PEFT computes with them.

    python make_peft.py [--out DIR]           (default: peft/ beside this script)

Each folder holds what save_pretrained wrote (base_model_name_or_path shortened to a name under models/) and, but for
those that are to be refused, golden.safetensors: ids [T] and logits [T, V] of the text alone, computed in f64.
"""
import argparse
import json
import pathlib
import shutil

import peft
import safetensors.torch
import torch
import transformers

from make_models import internal_casts_in_f64, load

T, STEPS, PROMPT = 16, 6, 4
LORA, PROMPT_TUNING = peft.LoraConfig, peft.PromptTuningConfig
# name -> (model under models/, configuration, whether Sinter reads it)
CASES = {
    "llama_lora": ("llama_mha_untied", LORA(r=4, lora_alpha=10, target_modules="all-linear", lora_dropout=0.05), True),
    "llama_patterns": ("llama_bias", LORA(
        r=2, lora_alpha=3, target_modules=["q_proj", "up_proj", "down_proj"], rank_pattern={"up_proj": 3},
        alpha_pattern={"self_attn.q_proj": 5, r"^model\.layers\.1\.mlp\.down_proj": 7}), True),
    "opt_rslora": ("opt_post_norm_proj", LORA(
        r=4, lora_alpha=6, use_rslora=True, target_modules=r".*layers\.1\..*(q_proj|out_proj|fc1|fc2)"), True),
    "opt_layers": ("opt_no_model_prefix", LORA(
        r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"], layers_to_transform=[1],
        init_lora_weights="gaussian"), True),
    "llama_prompt": ("llama_gqa_tied", PROMPT_TUNING(num_virtual_tokens=PROMPT), True),
    "opt_prompt": ("opt_post_norm_proj", PROMPT_TUNING(num_virtual_tokens=PROMPT, token_dim=20), True),
    "modules_to_save": ("llama_mha_untied", LORA(r=1, target_modules=["q_proj"], modules_to_save=["norm"]), False),
    "dora": ("llama_mha_untied", LORA(r=1, target_modules=["q_proj"], use_dora=True), False),
    "pissa": ("llama_mha_untied", LORA(r=1, target_modules=["q_proj"], init_lora_weights="pissa"), False),
    "trained_bias": ("opt_pre_norm", LORA(r=1, target_modules=["q_proj"], bias="lora_only"), False),
    "ia3": ("llama_mha_untied", peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[]), False),
}


def train(model, ids):
    """A few large steps, so that the adapter is far from its start."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    model.train()
    for _ in range(STEPS):
        optimiser.zero_grad()
        model(input_ids=ids[None], labels=ids[None], use_cache=False).loss.backward()
        optimiser.step()
    model.eval()


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids[None], use_cache=False).logits[0, -len(ids):]


def save(model, folder, base):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": base}
    for key, value in config.items():  # sets: their order is chance
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            config[key] = sorted(value)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    here = pathlib.Path(__file__).parent
    parser.add_argument("--out", type=pathlib.Path, default=here / "peft")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    for seed, (name, (base, config, read)) in enumerate(CASES.items()):
        torch.manual_seed(3000 + seed)
        plain = load(here / "models" / base, torch.float32)
        ids = torch.randint(3, plain.config.vocab_size, (T,))
        before = logits(plain, ids)
        config.task_type = "CAUSAL_LM"
        model = peft.get_peft_model(plain, config)
        train(model, ids)
        folder = out / name
        save(model, folder, base)
        if read:
            single = logits(model, ids)
            with internal_casts_in_f64():
                double = logits(model.double(), ids)
            noise = ((single - double).abs().max() / double.abs().max()).item()
            moved = ((double - before).abs().max() / double.abs().max()).item()
            assert noise < 1e-5 and moved > 0.05, (name, noise, moved)
            tensors = {"ids": ids.int(), "logits": double.float().contiguous()}
            safetensors.torch.save_file(tensors, folder / "golden.safetensors")
            print(f"{name:16} f32-f64 {noise:.1e}, moved the logits by {moved:.2f} of the largest")
        if name == "llama_lora":  # as versions of PEFT before 0.6 saved it, with the adapter's name in the names
            state = safetensors.torch.load_file(folder / "adapter_model.safetensors")
            old = out / "llama_lora_bin"
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir()
            shutil.copy(folder / "adapter_config.json", old)
            torch.save({key.replace(".weight", ".default.weight"): value for key, value in state.items()},
                       old / "adapter_model.bin")
        for file in folder.iterdir():
            file.chmod(0o644)


if __name__ == "__main__":
    main()
