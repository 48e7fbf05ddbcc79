"""The solvers of SparseGPT and GPTQ as their authors wrote them, in PyTorch, and Sinter's beside them.

    python layer_solve.py --sinter build/sinter --out result.json [--passes 3] [--threads 2]

Solve = from the statistics H to the compressed weight: damping, factor of H's inverse, column sweep. Each pass times
PyTorch on every case, then runs `sinter bench` on the same shapes; a ratio is of one pass, so that a machine that slows
down slows both. Needs torch; see layer_solve.sh.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import torch

BLOCK = 128
DAMP = 0.01
SHAPES = [(4096, 4096), (4096, 11008)]
METHODS = {"sparsegpt": ", 50 %", "gptq": ", 4 bits"}


def statistics_of(columns, tokens=2048):
    """H = 2/N sum x x', of inputs with a shared part."""
    x = torch.randn(tokens, columns) * torch.rand(columns)
    x[:, 1:] += 0.5 * x[:, :-1].clone()
    return x.t() @ x * 2


def inverse_root(h):
    """Upper U with U' U = (H + damp)^-1, by two factorisations and a dense inverse; h is overwritten."""
    diagonal = torch.arange(h.shape[0])
    h[diagonal, diagonal] += DAMP * h.diagonal().mean()
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)


def on_grid(w, scale, zero, top):
    return scale * (torch.clamp(torch.round(w / scale) + zero, 0, top) - zero)


def sweep(w, u, method, grid):
    """w is overwritten by its result; returns the loss."""
    loss = torch.zeros(w.shape[0])
    for begin in range(0, w.shape[1], BLOCK):
        end = min(begin + BLOCK, w.shape[1])
        block, inside = w[:, begin:end].clone(), u[begin:end, begin:end]
        result, error = torch.zeros_like(block), torch.zeros_like(block)
        drop = None
        if method == "sparsegpt":
            score = block**2 / inside.diagonal().reshape(1, -1) ** 2
            drop = score <= torch.sort(score.flatten())[0][score.numel() // 2]
        for j in range(end - begin):
            column, d = block[:, j], inside[j, j]
            q = column.clone()
            if drop is not None:
                q[drop[:, j]] = 0
            else:
                q = on_grid(q.unsqueeze(1), *grid).flatten()
            result[:, j] = q
            e = (column - q) / d
            loss += e**2 / 2
            block[:, j:] -= e.unsqueeze(1).matmul(inside[j, j:].unsqueeze(0))
            error[:, j] = e
        w[:, begin:end] = result
        w[:, end:] -= error.matmul(u[begin:end, end:])
    return loss.sum().item()


def solve(weight, h, method):
    """Seconds of one solve, and of its factorisation."""
    w, h, top = weight.clone(), h.clone(), 15
    low, high = w.amin(1, keepdim=True).clamp(max=0), w.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low) / top
    grid = (scale, torch.round(-low / scale), top)
    start = time.perf_counter()
    u = inverse_root(h)
    factored = time.perf_counter()
    loss = sweep(w, u, method, grid)
    done = time.perf_counter()
    assert loss == loss and (w == 0).float().mean() > (0.49 if method == "sparsegpt" else 0)
    return done - start, factored - start


def product_rate(n=2048):
    a, b, times = torch.randn(n, n), torch.randn(n, n), []
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2e-9 * n**3 / statistics.median(times[1:])


def run_sinter(program, threads, method):
    """Seconds by shape, and what the machine was doing."""
    run = [program, "bench", "--what", f"solve_{method}", "--threads", str(threads), "--json", "-", "--quiet"]
    said = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return {row["shape"]: row for row in said["rows"]}, said["machine"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sinter", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--passes", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--commit", default="unknown")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    cases = [(rows, columns, method) for rows, columns in SHAPES for method in METHODS]
    peer, factor, ours, rates = {c: [] for c in cases}, {c: [] for c in cases}, {c: [] for c in cases}, []
    machine = {}
    problems = {s: (torch.randn(*s) * 0.02, statistics_of(s[1])) for s in SHAPES}
    for method in METHODS:  # once unmeasured
        solve(*(t[:1024, :1024].contiguous() for t in problems[SHAPES[0]]), method)
    for turn in range(args.passes):
        rates.append(product_rate())
        for rows, columns, method in cases:
            seconds, factoring = solve(*problems[rows, columns], method)
            peer[rows, columns, method].append(seconds)
            factor[rows, columns, method].append(factoring)
        for method, how in METHODS.items():
            found, machine = run_sinter(args.sinter, args.threads, method)
            for rows, columns in SHAPES:
                ours[rows, columns, method].append(found[f"{rows} x {columns}{how}"])
        print(f"pass {turn + 1} of {args.passes}", file=sys.stderr, flush=True)

    results = []
    for case in cases:
        seconds = [row["seconds"] for row in ours[case]]
        results.append({
            "case": f"{case[2]}, {case[0]} x {case[1]}",
            "peer_seconds": statistics.median(peer[case]), "peer_factor_seconds": statistics.median(factor[case]),
            "sinter_seconds": statistics.median(seconds),
            "sinter_share_of_product_rate": statistics.median([row["share"] for row in ours[case]]),
            "ratio": statistics.median([a / b for a, b in zip(peer[case], seconds)]),
            "all_peer_seconds": peer[case], "all_sinter_seconds": seconds,
        })
        print("{case:28} PyTorch {peer_seconds:7.2f} s   Sinter {sinter_seconds:7.3f} s   {ratio:5.2f} times"
              .format(**results[-1]))
    report = {
        "what": "layer solve, statistics given; medians, ratios within one pass", "date": str(datetime.date.today()),
        "machine": machine, "threads": args.threads, "passes": args.passes, "commit": args.commit,
        "peer": {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads(),
                 "mkl": torch.backends.mkl.is_available(), "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                 "product_gflops": statistics.median(rates), "preloaded": bool(os.environ.get("LD_PRELOAD")),
                 "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "MKL_", "KMP_"))}},
        "load": os.getloadavg()[0], "results": results,
    }
    with open(args.out, "w") as f:
        json.dump(report, f, indent=2)
        f.write("\n")


main()
