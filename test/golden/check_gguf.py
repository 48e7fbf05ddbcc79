"""GGUF against llama.cpp: its programs read what Sinter writes, Sinter reads what they write, and the numbers agree.

    python check_gguf.py --bin LLAMA_CPP_BUILD/bin --sinter build/sinter --models DIR --text held.txt --train train.txt

Needs a build of llama.cpp with llama-perplexity, llama-quantize, llama-tokenize and llama-completion; nothing is
fetched or built here. DIR holds model directories (stories260K, babyllama361). Perplexity follows llama.cpp's recipe on
both sides: windows of the model's length, <s> in place of the first token, the second half scored.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

CHUNKS = 60
ATTEMPTS = 4  # llama.cpp prints from a thread of its own, which now and then loses the last words at exit
TOLERANCE = 0.005  # relative, of perplexities
TEXTS = ["Once upon a time", "  two  spaces, 123 tabs\t.", "café 🙂 naïve", "One day,\n\nLily's cat", "ab"]
PROMPTS = ["Once upon a time", "One day, Tom", "The little dog"]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, check=False)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{out}\n{err}")
    return out, err


class Check:
    def __init__(self, args, folder):
        self.bin, self.sinter, self.text, self.train = Path(args.bin), args.sinter, args.text, args.train
        self.folder, self.bad = folder, 0

    def verdict(self, ok, line):
        self.bad += not ok
        print(("ok    " if ok else "WRONG ") + line, flush=True)

    def ours(self, model, window):
        out, _ = run(self.sinter, "perplexity", model, "--text", self.text, "--recipe", "llama.cpp", "--seq-len",
                     window, "--max-chunks", CHUNKS, "--json", "-", "--quiet")  # fmt: skip
        return json.loads(out)["ppl"]

    def theirs(self, model, window):
        for _ in range(ATTEMPTS):
            out, err = run(self.bin / "llama-perplexity", "-m", model, "-f", self.text, "-c", window, "--chunks",
                           CHUNKS, "-t", 1)  # fmt: skip
            if found := re.search(r"Final estimate: PPL = ([0-9.]+)", out + err):
                return float(found[1])
        sys.exit("llama-perplexity prints no estimate")

    def perplexity(self, name, model, window):
        ours, theirs = self.ours(model, window), self.theirs(model, window)
        apart = abs(ours / theirs - 1)
        line = f"{name}: perplexity {ours:.4f}, llama.cpp {theirs:.4f}, {100 * apart:.3f} % apart"
        self.verdict(apart < TOLERANCE, line)

    def tokens(self, name, model):
        for text in TEXTS:
            out, _ = run(self.sinter, "tokenize", model, "--text", text, "--quiet")
            ours = [int(i) for i in re.findall(r"\d+", out)]
            out, _ = run(self.bin / "llama-tokenize", "-m", model, "-p", text, "--ids", "--log-disable")
            theirs = [int(i) for i in re.findall(r"\d+", out[out.rindex("[") :])]
            self.verdict(ours == theirs, f"{name}: ids of {text!r}" + ("" if ours == theirs else f" {ours} {theirs}"))

    def greedy(self, name, model):
        for prompt in PROMPTS:
            out, _ = run(self.sinter, "generate", model, "--prompt", prompt, "--max-new-tokens", 60, "--json", "-",
                         "--quiet")  # fmt: skip
            ours = json.loads(out)["text"]
            for _ in range(ATTEMPTS):
                out, _ = run(self.bin / "llama-completion", "-m", model, "-p", prompt, "-n", 60, "--temp", 0, "-no-cnv",
                             "-t", 1, "--no-display-prompt")  # fmt: skip
                same = out.strip().removesuffix("[end of text]").strip() == ours.strip()
                if same:
                    break
            self.verdict(same, f"{name}: greedy text after {prompt!r}" + ("" if same else f"\n{ours!r}\n{out!r}"))

    def export(self, model, name, *more):
        out = self.folder / f"{name}.gguf"
        text, _ = run(self.sinter, "export", model, "--to", "gguf", "--out", out, "--quiet", *more)
        print("      " + text.strip().replace(str(self.folder) + "/", ""))
        return out

    def same_tensors(self, name, a, b):
        """Two files hold the same bytes for the linears of the blocks."""
        x, y = tensors(a), tensors(b)
        blocks = [n for n in x if n.startswith("blk.")]
        wrong = [n for n in blocks if x[n] != y[n]]
        self.verdict(not wrong and set(x) == set(y), f"{name}: {len(blocks)} tensors of blocks byte for byte, {wrong}")

    def model(self, path):
        name = path.name
        window = min(512, json.loads((path / "config.json").read_text())["max_position_embeddings"])
        f16 = self.export(path, f"{name}-f16", "--dtype", "f16")
        self.tokens(name, f16)
        self.greedy(f"{name} F16", f16)
        self.perplexity(f"{name} F16", f16, window)
        for kind in ["q8_0", "q4_0"]:
            own = self.export(f16, f"{name}-{kind}", "--dtype", kind)
            self.perplexity(f"{name} {kind}", own, window)
            made = self.folder / f"{name}-{kind}-llama-quantize.gguf"
            run(self.bin / "llama-quantize", f16, made, kind)
            self.perplexity(f"{name} {kind} of llama-quantize", made, window)
            self.same_tensors(f"{name} {kind} and llama-quantize's", own, made)
        sym = ["--bits", 4, "--group-size", 32, "--sym"]
        for what, method in {
            "GPTQ 4 bits sym g32": ["gptq", *sym],
            "GPTQ 3 bits g64": ["gptq", "--bits", 3, "--group-size", 64],
            "SparseGPT 50 %": ["sparsegpt", "--sparsity", 0.5],
            "SparseGPT 2:4 + 4 bits sym g32": ["sparsegpt", "--pattern", "2:4", *sym],
        }.items():
            self.compressed(path, what, window, "--method", *method)

    def compressed(self, path, what, window, *method):
        slug = re.sub(r"\W+", "-", f"{path.name} {what}")
        made = self.folder / slug
        run(self.sinter, "compress", path, "--out", made, "--calibration", self.train, "--samples", 32, "--quiet",
            *method)  # fmt: skip
        before = self.ours(made, window)
        out = self.export(made, slug)
        after = self.ours(out, window)
        line = f"{path.name} {what}: {before:.4f} before export, {after:.4f} after"
        self.verdict(abs(after / before - 1) < 1e-3, line)
        self.perplexity(f"{path.name} {what}", out, window)


def tensors(path):
    """name -> (type, bytes) of a GGUF file."""
    data = Path(path).read_bytes()
    at = 8

    def number(size):
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "little")

    def text():
        nonlocal at
        n = number(8)
        at += n
        return data[at - n : at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, count = number(4), number(8)
            for _ in range(count):
                skip(inner)
        else:
            at += [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind]

    count, keys = number(8), number(8)
    for _ in range(keys):
        text()
        skip(number(4))
    found = []
    for _ in range(count):
        name, shape = text(), [number(8) for _ in range(number(4))]
        found.append((name, shape, number(4), number(8)))
    start = (at + 31) // 32 * 32
    size = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 30: (1, 2), 14: (256, 210)}
    out = {}
    for name, shape, kind, offset in found:
        values = 1
        for n in shape:
            values *= n
        block, bytes_ = size[kind]
        out[name] = (kind, data[start + offset : start + offset + values // block * bytes_])
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ["--bin", "--sinter", "--models", "--text", "--train"]:
        parser.add_argument(flag, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check = Check(args, Path(folder))
        for path in sorted(Path(args.models).iterdir()):
            check.model(path)
    print(f"{check.bad} wrong")
    sys.exit(check.bad > 0)


if __name__ == "__main__":
    main()
