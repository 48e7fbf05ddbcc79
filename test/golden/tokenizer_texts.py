"""The text that make_tokenizer_golden.py trains on, and the texts that it encodes."""

import random


def corpus():
    rng = random.Random(7)
    who = ["Anna", "the old miller", "a grey cat", "Tom's sister", "nobody", "the straße", "Łukasz"]
    does = ["walks to", "sees", "doesn't like", "remembers", "counts 12 stones near", "paints", "they'll leave"]
    where = ["the river", "a red house", "the café", "mountain 1984", "its own shadow", "the naïve town", "東京"]
    how = ["slowly", "at night", "without a word", "again and again", "on 3 days", "happily", "!?"]
    lines = []
    for _ in range(400):
        lines.append(" ".join(rng.choice(x) for x in (who, does, where, how)) + rng.choice([".", "...", "!", " ;)"]))
    return lines


# fmt: off
TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "\n", "\t", "\r\n", "\n\n\n", " \n ", "Anna walks to the river.",
    " Anna walks", "  two  spaces  ", "Tom's sister DOESN'T like it, they'll see", "the straße, the café; Łukasz!",
    "e\u0301 versus \u00e9, \ufb01 and \u2460 and \u00bd", "東京 and 日本語", "1 12 123 1234 12345.678", "x=3+4;y=7",
    "🙂🙃 emoji 👩‍👩‍👧 \u200d joined", "tabs\tand\nlines\r\nhere", "\u2581 already \u2581\u2581 marked\u2581",
    "no\u00a0break\u3000wide\u2028line\u0085next\u180evowel", "<s>", "</s> text", "a<s>b</s>c", "<s> <s>",
    "<unk> seen", "<0x41> is not a byte", "ſ 'ſ 'S 'LL", "İstanbul ÇA VA", "\u0000nul\u0000", "١٢٣ Ⅷ ²", "a" * 60,
    " " * 40 + "x", "ab" * 50, "_under_score_", "[X] mask[X]s  [X]  end [X]", "word[W]word [W] word",
    "mother-in-law's e-mail: a@b.cd", "the\u0301 river", "ALL CAPS HERE", "… — “quoted”", "\U0001d54f\U0001d550",
    "\ufffd \ufeff", "thethethe river riverriver", "can't won't it's I'm we've you'd", "   leading and trailing   ",
    "café cafe\u0301 CAFÉ",
]
# fmt: on


def random_texts():
    rng = random.Random(3)
    words = [w for line in corpus()[:60] for w in line.split()]
    pieces = words + [
        " ",
        "  ",
        "\n",
        "\t",
        "é",
        "京",
        "🙂",
        "ß",
        "0",
        "9",
        "'s",
        ".",
        "…",
        "\u0301",
        "<s>",
        "</s>",
        "[X]",
        "[W]",
        "@@",
    ]
    for _ in range(60):
        yield "".join(rng.choice(pieces) + rng.choice(["", " "]) for _ in range(rng.randint(1, 14)))


def all_texts():
    return TEXTS + list(random_texts()) + [" ".join(corpus()[:5])]
