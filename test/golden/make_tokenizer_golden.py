"""Makes test/golden/tokenizers: small tokenizers in every format, each with cases.json, a list of texts with the ids
and the decoded text that the reference implementations give.

    pip install sentencepiece==0.2.* tokenizers==0.23.* protobuf
    python3 test/golden/make_tokenizer_golden.py

The tokenizers package breaks ties at random when it trains with affixes: another run gives another json_steps.
"""

import itertools
import json
import pathlib
import random
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizer_texts import TEXTS, all_texts, corpus
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

OUT = pathlib.Path(__file__).parent / "tokenizers"
GPT2_LIKE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def decode_cases(size):
    rng = random.Random(5)
    # Recent tokenizers decode an added token to its normalised form, older ones to its content. Where the two
    # differ (the last token of json_gpt2 and json_steps) there is no reference.
    return [[rng.randrange(size - 1) for _ in range(rng.randint(1, 12))] for _ in range(60)]


def write(name, encode, decode, size):
    cases = {"encode": [], "decode": []}
    for text in all_texts():
        plain, special = encode(text, False), encode(text, True)
        cases["encode"].append({"text": text, "ids": plain, "with_special": special})
    for ids in decode_cases(size) + [encode(text, False) for text in all_texts()[::3]]:
        if size - 1 in ids:
            continue
        try:
            cases["decode"].append({"ids": ids, "text": decode(ids)})
        except BaseException as error:  # the Strip decoder of the reference panics on texts shorter than `stop`
            assert "PanicException" in type(error).__name__
    (OUT / name / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")


def save_json(name, tokenizer, config=None):
    directory = OUT / name
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    if config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    write(
        name,
        lambda t, s: tokenizer.encode(t, add_special_tokens=s).ids,
        lambda ids: tokenizer.decode(ids, skip_special_tokens=True),
        tokenizer.get_vocab_size(),
    )


def split_on(text, names):
    """(text, None) and ("", name) parts, leftmost and longest first, as special tokens cut a text."""
    parts, start, at = [], 0, 0
    while at < len(text):
        found = max((n for n in names if text.startswith(n, at)), key=len, default=None)
        if found is None:
            at += 1
            continue
        parts += [(text[start:at], None)] if at > start else []
        parts.append(("", found))
        start = at = at + len(found)
    return parts + ([(text[start:], None)] if start < len(text) else [])


def sentencepiece_model(name, edit=None, legacy_config=None, **options):
    directory = OUT / name
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        prefix = temporary + "/m"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()),
            model_prefix=prefix,
            model_type="bpe",
            normalization_rule_name="identity",
            minloglevel=2,
            **options,
        )
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(pathlib.Path(prefix + ".model").read_bytes())
    proto.trainer_spec.input[:] = []
    proto.trainer_spec.model_prefix = ""
    if edit:
        edit(proto)
    (directory / "tokenizer.model").write_bytes(proto.SerializeToString(deterministic=True))
    if legacy_config is not None:
        (directory / "tokenizer_config.json").write_text(json.dumps(legacy_config, indent=1) + "\n")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    special = {"<s>": processor.bos_id(), "</s>": processor.eos_id(), "<unk>": processor.unk_id()}

    def encode(text, with_special):
        ids = [processor.bos_id()] if with_special else []
        for part, token in split_on(text, special):
            ids += [special[token]] if token else processor.encode(part)
        return ids

    write(name, encode, processor.decode, processor.get_piece_size())
    return proto


def llama_like():
    return sentencepiece_model(
        "spm_llama",
        vocab_size=460,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        split_digits=True,
        character_coverage=0.99,
    )


def spm_plain():
    sentencepiece_model(
        "spm_plain",
        vocab_size=240,
        remove_extra_whitespaces=True,
        character_coverage=0.98,
        user_defined_symbols=["[X]", "the", "[W]"],
        pad_id=3,
    )


def spm_unused():
    def edit(proto):
        piece = sentencepiece_model_pb2.ModelProto.SentencePiece
        normal = [p for p in proto.pieces if p.type == piece.NORMAL and len(p.piece) > 2]
        for p in normal[::3]:
            p.type = piece.UNUSED

    sentencepiece_model(
        "spm_unused",
        edit=edit,
        vocab_size=420,
        byte_fallback=True,
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    )


def vocab_and_merges(proto):
    """As the converter of transformers makes them from a SentencePiece BPE model: all cuts of a piece, best score first."""
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    merges = []
    for piece in proto.pieces:
        if piece.type != 1:
            continue
        local = [(piece.piece[:i], piece.piece[i:]) for i in range(1, len(piece.piece))]
        merges += [(vocab[a], vocab[b], -piece.score, a, b) for a, b in local if a in vocab and b in vocab]
    merges.sort(key=lambda m: (m[2], m[0], m[1]))
    return vocab, [(a, b) for *_, a, b in merges]


def json_llama(proto):
    vocab, merges = vocab_and_merges(proto)

    def base():
        t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.add_special_tokens([AddedToken(n, normalized=False, special=True) for n in ("<unk>", "<s>", "</s>")])
        t.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
        return t

    t = base()
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    save_json("json_llama", t)

    for name, scheme, split in (("json_metaspace_first", "first", False), ("json_metaspace_split", "always", True)):
        t = base()
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=split)
        t.decoder = decoders.Metaspace("▁", prepend_scheme=scheme)
        t.add_tokens(
            [
                AddedToken("[X]", lstrip=True, rstrip=True, normalized=False),
                AddedToken("[W]", single_word=True, normalized=True),
            ]
        )
        save_json(name, t)


def byte_level(pre_tokenizer, size):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    t.train_from_iterator(corpus(), trainer)
    t.decoder = decoders.ByteLevel()
    return t


def json_gpt2():
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), 420)
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.normalizer = normalizers.NFC()
    t.add_special_tokens(["<s>", "</s>"])
    t.add_tokens(
        [
            AddedToken("[X]", lstrip=True),
            AddedToken("[W]", single_word=True),
            AddedToken("cafe\u0301", normalized=True),
        ]
    )
    save_json("json_gpt2", t)


def json_llama3():
    split = pre_tokenizers.Split(Regex(GPT2_LIKE), "isolated")
    t = byte_level(
        pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), 420
    )
    raw = json.loads(t.to_str())
    raw["model"]["ignore_merges"] = True
    raw["model"]["merges"] = raw["model"]["merges"][
        : len(raw["model"]["merges"]) // 2
    ]  # so that ignore_merges matters
    t = Tokenizer.from_str(json.dumps(raw))
    t.add_special_tokens(["<s>", "</s>"])
    template = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))]
    )
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    save_json("json_llama3", t)


def json_steps():
    """Everything that the others leave out: compatibility forms, case, stripping, digits, affixes, unknown tokens."""
    t = Tokenizer(
        models.BPE(unk_token="<unk>", continuing_subword_prefix="##", end_of_word_suffix="</w>", fuse_unk=False)
    )
    t.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split(Regex(r"[.!?]+"), "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[\p{L}\p{M}]+"), "contiguous", invert=True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>"],
        continuing_subword_prefix="##",
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    t.train_from_iterator(corpus(), trainer)
    t.add_tokens([AddedToken("CAPS", normalized=True)])
    t.decoder = decoders.Sequence(
        [decoders.Replace("##", ""), decoders.Replace(Regex("</w>"), " "), decoders.Fuse(), decoders.Strip(" ", 0, 2)]
    )
    save_json("json_steps", t)


def steps():
    """Single normalisers and pre-tokenisers, as they stand in a tokenizer.json, on all texts."""
    behaviors = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
    patterns = ({"Regex": r"\s"}, {"String": "a"}, {"Regex": r"\d+(?=\w)|^[A-Z]"})
    pre = [
        {"type": "Split", "pattern": p, "behavior": b, "invert": i}
        for p, b, i in itertools.product(patterns, behaviors, (False, True))
    ]
    pre += [{"type": "Digits", "individual_digits": i} for i in (False, True)]
    pre += [
        {"type": "ByteLevel", "add_prefix_space": a, "trim_offsets": True, "use_regex": u}
        for a, u in itertools.product((False, True), (False, True))
    ]
    pre += [
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": p, "split": s}
        for p, s in itertools.product(("always", "first", "never"), (False, True))
    ]
    pre += [{"type": "Split", "pattern": {"Regex": GPT2_LIKE}, "behavior": "Isolated", "invert": False}]
    pre += [{"type": "Sequence", "pretokenizers": [pre[0], pre[-3]]}]
    norm = [{"type": t} for t in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase")]
    norm += [
        {"type": "Strip", "strip_left": a, "strip_right": b}
        for a, b in itertools.product((False, True), (False, True))
    ]
    norm += [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁▁"}]
    norm += [{"type": "Replace", "pattern": {"Regex": r" {2,}|\d"}, "content": "#"}]
    empty = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }
    texts = [t for t in TEXTS if t][:48:2] + ["a  b\u180e1c\n2d aa", "Ab 12x\nCd", "aaa"]
    out = []
    for config in norm:
        t = Tokenizer.from_str(json.dumps({**empty, "normalizer": config}))
        out.append({"normalizer": config, "cases": [[x, t.normalizer.normalize_str(x)] for x in texts]})
    for config in pre:
        t = Tokenizer.from_str(json.dumps({**empty, "pre_tokenizer": config}))
        out.append(
            {
                "pre_tokenizer": config,
                "cases": [[x, [w for w, _ in t.pre_tokenizer.pre_tokenize_str(x)]] for x in texts],
            }
        )
    (OUT / "steps.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


def opt():
    """vocab.json + merges.txt, ids laid out as in OPT; the reference is the same tokenizer with </s> put first."""
    t = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), 420)
    raw = json.loads(t.to_str())["model"]
    order = sorted(raw["vocab"], key=raw["vocab"].get)
    vocab = {w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>"] + order)}
    directory = OUT / "opt"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(vocab))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in raw["merges"]]
    (directory / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["</s>", "<pad>"])
    write(
        "opt",
        lambda text, s: [2] * s + t.encode(text).ids,
        lambda ids: t.decode(ids, skip_special_tokens=True),
        len(vocab),
    )


def main():
    OUT.mkdir(exist_ok=True)
    json_llama(llama_like())
    spm_plain()
    spm_unused()
    json_gpt2()
    json_llama3()
    json_steps()
    steps()
    opt()


if __name__ == "__main__":
    main()
