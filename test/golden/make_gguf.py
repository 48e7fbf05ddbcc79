"""Golden GGUF files: a tiny LLaMA in mixed types and blocks of every type that is read, written and decoded by gguf-py.

    python make_gguf.py        # needs the gguf package of llama.cpp, numpy and safetensors

gguf/tiny.gguf       d = 32, 2 layers, 4 heads over 2, f = 64, V = 280, a SentencePiece vocabulary with byte pieces
gguf/tiny.safetensors its tensors decoded to f32, under Hugging Face names and in Hugging Face's order of rows
gguf/blocks.safetensors x [16, 256] f32 and what gguf-py makes of it: q4_0, q8_0 (bytes); q6_k: random bytes and their
                     values q6_k.values
"""

from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

HERE = Path(__file__).parent / "gguf"
Type = gguf.GGMLQuantizationType
D, F, V, LAYERS, HEADS, KV = 32, 64, 280, 2, 4, 2
NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip


def to_hf_rows(w, heads):
    """The converter interleaves the two halves of a head; this puts them back."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def vocabulary(writer):
    tokens, scores, types = ["<unk>", "<s>", "</s>"], [0.0] * 3, [2, 3, 3]
    for byte in range(256):
        tokens.append(f"<0x{byte:02X}>")
        scores.append(0.0)
        types.append(6)
    pieces = ["▁", "▁t", "he", "▁the", "in", "ing", "a", "b", "c", "d", "e", "g", "h", "i", "n", "o", "s", "t"]
    for rank, piece in enumerate(pieces):
        tokens.append(piece)
        scores.append(-float(rank))
        types.append(1)
    while len(tokens) < V:
        tokens.append(f"[PAD{len(tokens)}]")
        scores.append(-10000.0)
        types.append(5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)


def tiny(rng):
    writer = gguf.GGUFWriter(HERE / "tiny.gguf", "llama")
    writer.add_name("tiny")
    writer.add_context_length(128)
    writer.add_embedding_length(D)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(F)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(D // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(V)
    vocabulary(writer)
    want = {}

    def add(name, hf, shape, kind, heads=0):
        w = (rng.standard_normal(shape) * (0.2 if len(shape) > 1 else 0.05) + (len(shape) == 1)).astype(np.float32)
        data = quantize(w, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        back = dequantize(data, kind).astype(np.float32).reshape(shape)
        want[hf] = np.ascontiguousarray(to_hf_rows(back, heads) if heads else back)

    add("token_embd.weight", "model.embed_tokens.weight", (V, D), Type.Q8_0)
    for i in range(LAYERS):
        kinds = [Type.Q4_0, Type.Q8_0] if i == 0 else [Type.F16, Type.BF16]
        for at, (short, hf) in enumerate(NAMES.items()):
            rows = {"attn_k": KV * D // HEADS, "attn_v": KV * D // HEADS, "ffn_gate": F, "ffn_up": F}.get(short, D)
            shape = (D,) if "norm" in short else (rows, F if short == "ffn_down" else D)
            kind = Type.F32 if "norm" in short else kinds[at % 2]
            heads = {"attn_q": HEADS, "attn_k": KV}.get(short, 0)
            add(f"blk.{i}.{short}.weight", f"model.layers.{i}.{hf}.weight", shape, kind, heads)
    add("output_norm.weight", "model.norm.weight", (D,), Type.F32)
    add("output.weight", "lm_head.weight", (V, D), Type.F16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({k: v.astype(np.float32) for k, v in want.items()}, HERE / "tiny.safetensors")


def blocks(rng):
    x = (rng.standard_normal((16, 256)) * np.exp(rng.uniform(-6, 6, (16, 1)))).astype(np.float32)
    x[0] = 0
    x[1, 32:64] = 0
    q6 = rng.integers(0, 256, (16, 210), dtype=np.uint8)
    q6[:, 208:] = rng.uniform(-0.01, 0.01, (16, 1)).astype(np.float16).view(np.uint8).reshape(16, 2)
    save_file(
        {
            "x": x,
            "q4_0": np.ascontiguousarray(quantize(x, Type.Q4_0)),
            "q8_0": np.ascontiguousarray(quantize(x, Type.Q8_0)),
            "q6_k": q6,
            "q6_k.values": dequantize(q6, Type.Q6_K).astype(np.float32),
        },
        HERE / "blocks.safetensors",
    )


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    tiny(np.random.default_rng(3))
    blocks(np.random.default_rng(4))
