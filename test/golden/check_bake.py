#!/usr/bin/env python3
"""Does transformers see in a baked model what Sinter sees with the soft prompt?

    python check_bake.py --sinter build/sinter --model DIR --prompt P [--text S]

Bakes the prompt, then compares: the ids of prefix + text, the logits of the text under the baked model with those of
`sinter logits --soft-prompt`, and the greedy continuation with that of `sinter generate --soft-prompt`. A model with
packed linears is exported as dense first, since transformers cannot read those. Exits with 1 beyond 1e-4.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file


def sinter(program, *args):
    return subprocess.run([program, *map(str, args), "--quiet"], check=True, capture_output=True, text=True).stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sinter", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--text", default="Once upon a time there was a little")
    parser.add_argument("--new-tokens", type=int, default=24)
    a = parser.parse_args()
    temporary = tempfile.TemporaryDirectory()
    folder = pathlib.Path(temporary.name)
    made = json.loads(sinter(a.sinter, "prompt", "bake", a.model, "--soft-prompt", a.prompt, "--out", folder / "baked", "--json", "-"))
    baked = folder / "baked"
    if "quantization_config" in json.loads((baked / "config.json").read_text()):
        sinter(a.sinter, "export", baked, "--to", "dense", "--out", folder / "dense")
        baked = folder / "dense"

    k, first = made["tokens"], made["first_id"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(baked)
    model = transformers.AutoModelForCausalLM.from_pretrained(baked, dtype=torch.float32).eval()
    ids = tokenizer(made["prefix"] + a.text, add_special_tokens=False).input_ids
    ours = json.loads(sinter(a.sinter, "tokenize", folder / "baked", "--text", made["prefix"] + a.text, "--no-special", "--json", "-"))["ids"]
    with_bos = json.loads(sinter(a.sinter, "tokenize", a.model, "--text", a.text, "--json", "-"))["ids"]
    want = list(range(first, first + k)) + with_bos
    print(f"{type(tokenizer).__name__} {type(model).__name__}, {k} prompt tokens from id {first}")
    print(f"ids equal: transformers {ids == want}, sinter {ours == want}")
    ok = ids == want and ours == want

    sinter(a.sinter, "logits", a.model, "--ids", ",".join(map(str, with_bos)), "--soft-prompt", a.prompt, "--out", folder / "logits.safetensors")
    reference = load_file(folder / "logits.safetensors")["logits"]
    with torch.no_grad():
        logits = model(torch.tensor([want])).logits[0, k:]
    known = min(first, reference.shape[1])
    distance = (logits[:, :known] - reference[:, :known]).abs().max().item()
    print(f"largest difference of a logit: {distance:.2e} (largest logit {reference.abs().max().item():.1f})")
    print(f"a new token is the most likely one in {(logits.argmax(1) >= known).sum().item()} of {len(logits)} places")
    shift = (logits.logsumexp(1) - logits[:, :known].logsumexp(1)).max().item()
    print(f"log-probabilities fall by at most {shift:.2e} nats (bound {made['largest_shift']:.4f})")
    ok = ok and distance <= 1e-4 and bool((logits.argmax(1) < known).all())

    with torch.no_grad():
        out = model.generate(torch.tensor([want]), max_new_tokens=a.new_tokens, do_sample=False)[0, len(want):].tolist()
    said = json.loads(sinter(a.sinter, "generate", a.model, "--prompt", a.text, "--soft-prompt", a.prompt, "--max-new-tokens", a.new_tokens, "--json", "-"))
    again = json.loads(sinter(a.sinter, "generate", folder / "baked", "--prompt", made["prefix"] + a.text, "--no-special", "--max-new-tokens", a.new_tokens, "--json", "-"))
    same = out[: len(said["ids"])] == said["ids"]
    print(f"greedy continuation equal: transformers {same}, sinter {again['ids'] == said['ids']}: {said['text']!r}")
    sys.exit(0 if ok and same and again["ids"] == said["ids"] else 1)


if __name__ == "__main__":
    main()
