"""Makes small quantised linears with the libraries that write such files, each with what it must be read as.

    python make_interchange.py --gptqmodel DIR --autogptq DIR --old-compressed-tensors DIR [--out DIR]

The first two are unpacked sources of GPTQModel and AutoGPTQ, the third a folder with compressed-tensors 0.14 in it; the
current compressed-tensors is the installed one. The linear `l` is [32, 64] with random codes, zeros and f16 scales.
Every file is packed by the library; where the library can unpack, the script checks that it gets the same back.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import save_file

OUT, IN = 32, 64
HERE = pathlib.Path(__file__).parent


class Grid:
    """w = scale * (code - zero); scale and zero are [OUT, groups], codes [OUT, IN], unsigned."""

    def __init__(self, seed, bits, group, symmetric, shuffled=False, least_zero=0):
        g = torch.Generator().manual_seed(seed)
        self.bits, self.group, self.symmetric = bits, group, symmetric
        width = IN if group < 0 else group
        groups = IN // width
        self.code = torch.randint(0, 2**bits, (OUT, IN), generator=g)
        self.scale = (0.01 + 0.05 * torch.rand(OUT, groups, generator=g)).half().float()
        self.zero = torch.full((OUT, groups), 2 ** (bits - 1)) if symmetric else torch.randint(
            least_zero, 2**bits, (OUT, groups), generator=g)
        order = torch.randperm(IN, generator=g) if shuffled else torch.arange(IN)
        self.group_of = torch.empty(IN, dtype=torch.int64)
        self.group_of[order] = torch.arange(IN) // width
        self.weight = self.scale[:, self.group_of] * (self.code - self.zero[:, self.group_of])

    def linear(self):
        l = torch.nn.Linear(IN, OUT, bias=False)
        l.weight.data = self.weight.clone()
        return l

    def expected(self):
        return {"expect.code": self.code.to(torch.uint8), "expect.zero": self.zero.to(torch.uint8),
                "expect.scale": self.scale.half(), "expect.group_of": self.group_of.to(torch.int32)}


def save(args, name, parts, expected, config, config_file="config.json"):
    tensors = {"l." + key: t.contiguous() for key, t in parts.items()} | expected
    save_file(tensors, args.out / f"{name}.safetensors", {"config": json.dumps(config), "config_file": config_file})
    print(name)


def autogptq(args):
    path = args.autogptq / "auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py"
    spec = importlib.util.spec_from_file_location("qlinear_cuda_old", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for bits, group in ((2, 32), (3, 32), (4, 32), (8, -1)):
        grid = Grid(bits, bits, group, True)
        q = module.QuantLinear(bits, group, IN, OUT, False, weight_dtype=torch.float32)
        q.pack(grid.linear(), grid.scale.clone(), grid.zero.float(), None)
        assert torch.equal(q(torch.eye(IN)).T, grid.weight), bits
        parts = dict(qweight=q.qweight, qzeros=q.qzeros, scales=q.scales.half(), g_idx=q.g_idx)
        if bits == 4:
            del parts["g_idx"]
        save(args, f"gptq_v1_sym_b{bits}", parts, grid.expected(),
             dict(bits=bits, group_size=group, damp_percent=0.01, desc_act=False, static_groups=False, sym=True,
                  true_sequential=True, model_name_or_path=None, model_file_base_name="model"),
             "quantize_config.json")


def gptqmodel(args):
    sys.path.insert(0, str(args.gptqmodel))
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm, pack_awq
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    def gptq(name, grid, version, act=False):
        q = TorchLinear(bits=grid.bits, group_size=grid.group, sym=grid.symmetric, desc_act=act, in_features=IN,
                        out_features=OUT)
        q.pack_original(grid.linear(), grid.scale.clone(), grid.zero, grid.group_of.to(torch.int32))
        q.eval()
        assert torch.equal(q.dequantize_weight().T, grid.weight.half()), name
        if version == 1:
            convert_gptq_v2_to_v1_format_module(q, QuantizeConfig(bits=grid.bits, group_size=grid.group))
        form = "gptq" if version == 1 else "gptq_v2"
        save(args, name, dict(qweight=q.qweight, qzeros=q.qzeros, scales=q.scales, g_idx=q.g_idx), grid.expected(),
             dict(quantization_config=dict(
                 bits=grid.bits, group_size=grid.group, desc_act=act, sym=grid.symmetric, lm_head=False,
                 quant_method="gptq", method="gptq", checkpoint_format=form, format=form, pack_dtype="int32",
                 meta=dict(quantizer=["gptqmodel:7.7.0"]))))

    for bits in (2, 3, 4, 8):
        gptq(f"gptq_v2_asym_b{bits}", Grid(10 + bits, bits, 32, False), 2)
    gptq("gptq_v1_asym_b4", Grid(20, 4, 32, False, least_zero=1), 1)
    gptq("gptq_v1_act_b4", Grid(21, 4, 16, True, shuffled=True), 1, act=True)
    gptq("gptq_v2_act_b3", Grid(22, 3, 32, False, shuffled=True), 2, act=True)

    for name, group in (("awq_g32", 32), ("awq_channel", -1)):
        grid = Grid(30, 4, group, False)
        qweight, qzeros = pack_awq(grid.code.T.int(), grid.zero.T.int(), 4)
        w = dequantize_gemm(qweight, qzeros, grid.scale.T.contiguous(), 4, IN if group < 0 else group)
        assert torch.equal(w.T, grid.weight), name
        where = ("config.json", lambda c: dict(quantization_config=dict(c, quant_method="awq", version="gemm"))) \
            if group > 0 else ("quant_config.json", lambda c: dict(
                zero_point=True, q_group_size=c["group_size"], w_bit=4, version="GEMM"))
        save(args, name, dict(qweight=qweight, qzeros=qzeros, scales=grid.scale.T.half()), grid.expected(),
             where[1](dict(bits=4, group_size=group, zero_point=True)), where[0])


def scheme_of(grid, strategy):
    return dict(num_bits=grid.bits, type="int", symmetric=grid.symmetric, strategy=strategy,
                group_size=grid.group if strategy == "group" else None)


def compressed_config(weights, form, **more):
    return dict(quantization_config=dict(
        quant_method="compressed-tensors", format=form, quantization_status="compressed", ignore=["lm_head"],
        config_groups=dict(group_0=dict(targets=["Linear"], weights=weights)) if weights else {}, **more))


def new_compressed(args):
    import compressed_tensors
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    def one(name, grid, strategy, form, read_bits=None):
        weights = scheme_of(grid, strategy)
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
        half = 2 ** (grid.bits - 1)
        state = dict(weight=grid.weight, weight_scale=grid.scale)
        if strategy == "tensor":
            grid.scale = grid.scale[:1].expand(OUT, 1).contiguous()
            grid.weight = grid.scale * (grid.code - grid.zero)
            state = dict(weight=grid.weight, weight_scale=grid.scale[0])
        if not grid.symmetric:
            state["weight_zero_point"] = (grid.zero - half).to(torch.int8)
        compressor = BaseCompressor.get_value_from_registry(form)
        packed = compressor.compress(state, scheme)
        assert torch.equal(compressor.decompress(packed, scheme)["weight"].float(), grid.weight), name
        expected = grid.expected()
        if form != "pack-quantized":
            expected["expect.code"] = (grid.code - half + 128).to(torch.uint8)
            expected["expect.zero"] = (grid.zero - half + 128).to(torch.uint8)
        save(args, name, packed, expected,
             compressed_config(weights, form, version=compressed_tensors.__version__))

    for bits in (2, 3, 4, 8):
        one(f"ct_sym_b{bits}", Grid(40 + bits, bits, 32, True), "group", "pack-quantized")
    one("ct_asym_b4", Grid(50, 4, 32, False), "group", "pack-quantized")
    one("ct_asym_b3_channel", Grid(51, 3, -1, False), "channel", "pack-quantized")
    one("ct_sym_b5", Grid(52, 5, 32, True), "group", "pack-quantized")
    one("ct_tensor_b4", Grid(53, 4, -1, True), "tensor", "pack-quantized")
    one("ct_int_b8_channel", Grid(54, 8, -1, False), "channel", "int-quantized")
    one("ct_naive_b4", Grid(55, 4, 32, True), "group", "naive-quantized")


def old_compressed(args):
    import compressed_tensors
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32, unpack_from_int32
    from compressed_tensors.config import SparsityCompressionConfig

    assert compressed_tensors.__version__.startswith("0.14"), compressed_tensors.__version__
    for bits, group, strategy in ((3, 32, "group"), (4, -1, "channel")):
        grid = Grid(60 + bits, bits, group, False)
        half = 2 ** (bits - 1)
        code, zero = (grid.code - half).to(torch.int8), (grid.zero - half).to(torch.int8)
        parts = dict(weight_packed=pack_to_int32(code, bits), weight_scale=grid.scale.half(),
                     weight_zero_point=pack_to_int32(zero, bits, packed_dim=0).contiguous(),
                     weight_shape=torch.tensor([OUT, IN]))
        assert torch.equal(unpack_from_int32(parts["weight_packed"], bits, torch.Size([OUT, IN])), code)
        save(args, f"ct_old_asym_b{bits}", parts, grid.expected(),
             compressed_config(scheme_of(grid, strategy), "pack-quantized", version=compressed_tensors.__version__))

    g = torch.Generator().manual_seed(70)
    for form, dtype in (("sparse-24-bitmask", torch.float16), ("sparse-bitmask", torch.bfloat16)):
        w = torch.randn(OUT, IN, generator=g).to(dtype)
        if form == "sparse-24-bitmask":
            quads = w.view(-1, 4)
            quads.scatter_(1, quads.abs().topk(2, dim=1, largest=False).indices, 0)
        else:
            w[torch.rand(OUT, IN, generator=g) < 0.6] = 0
        config = dict(format=form, targets=["Linear"], ignore=[], global_sparsity=0.5,
                      sparsity_structure="2:4" if "24" in form else "unstructured")
        compressor = BaseCompressor.load_from_registry(form, config=SparsityCompressionConfig.load_from_registry(
            form, **{k: v for k, v in config.items() if k != "format"}))
        parts = compressor.compress_weight("l", w)
        assert torch.equal(compressor.decompress_weight({k.split(".", 1)[1]: v for k, v in parts.items()}), w)
        save(args, "ct_" + form.replace("-", "_"), {k[2:]: v for k, v in parts.items()}, {"expect.weight": w},
             compressed_config(None, "dense", version=compressed_tensors.__version__, sparsity_config=config))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gptqmodel", type=pathlib.Path)
    parser.add_argument("--autogptq", type=pathlib.Path)
    parser.add_argument("--old-compressed-tensors", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "interchange")
    parser.add_argument("--old", action="store_true", help=argparse.SUPPRESS)  # in a process with the old library
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    if args.old:
        sys.path.insert(0, str(args.old_compressed_tensors))
        old_compressed(args)
        sys.exit()
    autogptq(args)
    new_compressed(args)
    subprocess.run([sys.executable, *sys.argv, "--old"], check=True)
    gptqmodel(args)
