"""Learns adapters and prompts with sinter, loads them in PEFT on the dense model, and compares the logits of both.

    python check_peft.py --sinter build/sinter [MODEL ...]

Without MODEL it takes three of the tiny models beside this script, with a tokenizer made for them; a MODEL is a
directory with a tokenizer of its own. transformers runs in f32. Fails above 1e-4 of the largest logit, on a weight that
PEFT misses, and where adapter_config.json does not say what the command line said.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import sentencepiece
import torch
import transformers

LIMIT = 1e-4
TINY = ("llama_gqa_tied", "opt_post_norm_proj", "opt_no_model_prefix")
WORDS = "the lamp is on the table and the cat sat on the mat while a dog ran to the river in the rain of may . "
LORA = ("--method", "lora", "--dropout", "0")
# name -> (flags of sinter finetune, fields that adapter_config.json must have)
ADAPTERS = {
    "default": (LORA, {"r": 8, "lora_alpha": 16, "use_rslora": False, "bias": "none"}),
    "alpha": ((*LORA, "--rank", "3", "--alpha", "10"), {"r": 3, "lora_alpha": 10}),
    "rslora": ((*LORA, "--rank", "3", "--alpha", "10", "--rslora"), {"r": 3, "lora_alpha": 10, "use_rslora": True}),
    "ends of names": ((*LORA, "--targets", "q_proj,fc1,up_proj"), {}),
    "expression": ((*LORA, "--targets", r"layers\.1\..*(v_proj|fc2|down_proj)"), {}),
}


def base_model(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def tiny(name, folder):
    """A copy of a tiny model with a tokenizer of fewer pieces than its vocabulary."""
    here = pathlib.Path(__file__).parent
    out = folder / name
    shutil.copytree(here / "models" / name, out)
    text = folder / "words.txt"
    text.write_text((WORDS * 3 + "\n") * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(out / "tokenizer"), vocab_size=60, model_type="bpe",
        normalization_rule_name="identity", minloglevel=2)
    return out


def with_adapter(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("error", UserWarning)  # PEFT warns of weights that it misses
        return peft.PeftModel.from_pretrained(model, folder).eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -len(ids):]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=pathlib.Path, metavar="MODEL")
    parser.add_argument("--sinter", required=True)
    args = parser.parse_args()
    ids = [1, 5, 9, 20, 33, 44, 7, 50, 31, 12]
    failed = False
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        text = folder / "text.txt"
        text.write_text(WORDS * 40)

        def run(*command):
            subprocess.run([args.sinter, *map(str, command), "--quiet"], check=True, stdout=subprocess.DEVNULL)

        def compare(what, model, *flags, adapter):
            nonlocal failed
            out = folder / "logits.safetensors"
            run("logits", model, "--ids", ",".join(map(str, ids)), *flags, "--out", out)
            ours = safetensors.torch.load_file(out)["logits"]
            plain = base_model(model)
            before = logits_of(plain, ids)
            theirs = logits_of(with_adapter(plain, adapter), ids)
            largest = theirs.abs().max()
            error, moved = (float((other - theirs).abs().max() / largest) for other in (ours, before))
            good = error < LIMIT < moved
            failed |= not good
            print(f"{model.name:20} {what:16} differs by {error:.1e} of the largest logit, "
                  f"the adapter moves it by {moved:.2f}{'' if good else '   FAILED'}")

        models = args.models or [tiny(name, folder) for name in TINY]
        train = ("--data", text, "--steps", 8, "--seq-len", 24, "--batch", 2, "--lr", "0.03")
        for model in models:
            prompt = folder / f"{model.name}-prompt"
            run("prompt", model, "--out", prompt, "--tokens", 5, *train)
            compare("prompt", model, "--soft-prompt", prompt, adapter=prompt)
            for name, (flags, fields) in ADAPTERS.items():
                adapter = folder / f"{model.name}-{name.replace(' ', '-')}"
                run("finetune", model, "--out", adapter, *flags, *train)
                config = json.loads((adapter / "adapter_config.json").read_text())
                wrong = {key: config.get(key) for key, value in fields.items() if config.get(key) != value}
                if wrong:
                    failed = True
                    print(f"{name}: adapter_config.json has {wrong}, expected {fields}   FAILED")
                compare(name, model, "--adapter", adapter, adapter=adapter)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
