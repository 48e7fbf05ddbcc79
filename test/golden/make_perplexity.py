"""Perplexity of stories260K on the start of the TinyStories test text, computed in f64 with transformers.

    python make_perplexity.py --model stories260K-DIR --text tinystories.test.txt [--out FILE]

The text is the longest run of whole lines within the first 60 000 bytes, tokenised in one call with one BOS in
front, cut into consecutive chunks of 256 tokens (tail dropped); each chunk is scored alone from position 0.
"""
import argparse
import json
import math
import pathlib

import sentencepiece
import torch
import transformers

import authors

BYTES, SEQ_LEN, BOS = 60_000, 256, 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "perplexity.json")
    args = parser.parse_args()
    raw = args.text.read_bytes()[:BYTES]
    raw = raw[:raw.rindex(b"\n") + 1]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    ids = [BOS] + pieces.encode(raw.decode("utf-8"))
    chunks = torch.tensor(ids[:len(ids) // SEQ_LEN * SEQ_LEN]).reshape(-1, SEQ_LEN)
    model = transformers.LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32,
                                                          attn_implementation="eager").double()
    losses = []
    with authors.in_f64(), torch.no_grad():
        for chunk in chunks:
            logits = model(chunk[None], use_cache=False).logits[0]
            losses.append(torch.nn.functional.cross_entropy(logits[:-1], chunk[1:]).item())
    mean = sum(losses) / len(losses)
    args.out.write_text(json.dumps(dict(
        model=args.model.name, text=args.text.name, text_bytes=len(raw),
        text_cut="first text_bytes bytes of the file; ends with a line end", bos="one, before the first token",
        tokens=len(ids), first_ids=ids[:16], seq_len=SEQ_LEN, chunks=len(chunks),
        scored_tokens=len(chunks) * (SEQ_LEN - 1), mean_loss=mean, perplexity=math.exp(mean)), indent=1) + "\n")
    print(args.out.read_text())


if __name__ == "__main__":
    main()
