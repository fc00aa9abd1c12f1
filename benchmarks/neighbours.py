"""Exact nearest neighbours: ours against faiss, scikit-learn and the bare matrix product.

    python benchmarks/neighbours.py [--quick] [--large] [--threads 2 --rounds 3]

Three cases, each in a process of its own, so that its peak memory is its own; within a case all take turns.

square   10,000 x 10,000 x 4,096 float32 against faiss IndexFlatL2 and scikit-learn's brute force. Thresholds: not
         slower than the one, >= 2 times faster than the other. Both are asked for the nearest of each query.
wide     1,000 x 10,000 x 36,864 float32 against the product alone. Thresholds: <= 1.5 times its time, <= 2 GB
         resident, data included.
large    100,000 x 100,000 x 512 float32, with --large only: time and peak, against the product alone, estimated from
         a part of it.

Ten queries are copies of a reference. Printed is how far each method says they are: ours has to say exactly 0. --quick
takes small sizes, to see that everything runs; its ratios mean little. A peer that is not installed (pip install
faiss-cpu) is named and passed over. Ratios are medians over the rounds, by the clock on the wall.
"""

import argparse
import importlib
import importlib.util
import resource
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from lib.metrics.neighbours.search import nearest
from side_by_side import take_turns, verdict

FAISS, SKLEARN, PRODUCT, RESIDENT = 1.0, 2.0, 1.5, 2e9
SIZES = {"square": (10_000, 10_000, 4096), "wide": (1000, 10_000, 36_864), "large": (100_000, 100_000, 512)}
QUICK = {"square": (1500, 1500, 1024), "wide": (100, 400, 36_864), "large": (5000, 5000, 512)}
COPIES = 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", choices=SIZES)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.case is None:
        for case in SIZES if args.large else ("square", "wide"):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--case", case], check=True)
        return
    torch.set_num_threads(args.threads)
    size = (QUICK if args.quick else SIZES)[args.case]
    print(f"{args.case}: {size[0]:,} x {size[1]:,} x {size[2]:,} float32, {args.threads} threads", flush=True)
    compare = square if args.case == "square" else against_product
    compare(args, *drawn(*size))


def drawn(q: int, n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform noise: of all data the hardest, as all distances are nearly the same. The first queries are copies."""
    rng = np.random.default_rng(0)
    queries, references = (rng.random((rows, width), dtype=np.float32) for rows in (q, n))
    queries[:COPIES] = references[-COPIES:]
    return queries, references


def square(args, queries, references):
    methods = {"ours": ours}
    for name, peer in PEERS.items():
        if importlib.util.find_spec(name):
            importlib.import_module(name)  # before its threads are limited
            methods[name] = peer
        else:
            print(f"  {name} is not installed: passed over")
    with threadpool_limits(args.threads):
        timings = taken(methods, args, queries, references)
    found = timings.found
    for name, (distances, indices) in found.items():
        same = np.mean(indices == found["ours"][1])
        print(f"  {name:8s} {timings.median(name):8.2f} s, copies at {distances[:COPIES].max():.1e}, ", end="")
        print(f"{100 * same:.2f} % of the neighbours are ours")
    for name, threshold in (("faiss", FAISS), ("sklearn", SKLEARN)):
        if name in methods:
            ratio = timings.ratio(name, "ours")
            print(f"  {ratio:.2f} times the speed of {name} (threshold {threshold:g}): ", end="")
            print(verdict_at_full_size(args, ratio >= threshold))


def against_product(args, queries, references):
    part = slice(0, len(queries) if args.case == "wide" else len(queries) // 200)
    methods = {"ours": ours, "product": lambda q, r: (q[part] @ r.T).shape}
    timings = taken(methods, args, queries, references)
    found = timings.found
    share = len(queries[part]) / len(queries)
    ratio = share * timings.ratio("ours", "product")
    peak = peak_memory()
    print(f"  ours {timings.median('ours'):.2f} s, {ratio:.2f} times the product alone", end="")
    print(
        f" (threshold {PRODUCT}): {verdict_at_full_size(args, ratio <= PRODUCT)}"
        if args.case == "wide"
        else ", estimated"
    )
    data = (queries.nbytes + references.nbytes) / 1e9
    print(f"  peak {peak / 1e9:.2f} GB resident, {data:.2f} of it data", end="")
    print(
        f" (threshold {RESIDENT / 1e9:g}): {verdict_at_full_size(args, peak <= RESIDENT)}"
        if args.case == "wide"
        else ""
    )
    print(f"  copies at {found['ours'][0][:COPIES].max():g}")


def verdict_at_full_size(args, met: bool) -> str:
    return "not evaluated at this size" if args.quick else verdict(met)


def taken(methods, args, queries, references):
    """Timings of the methods on the same tensors; what each found is in `found`."""
    given = torch.from_numpy(queries), torch.from_numpy(references)
    calls = {name: partial(method, *given) for name, method in methods.items()}
    return take_turns(calls, rounds=args.rounds, warm_up=0, device=torch.device("cpu"), wall=True)


def ours(queries, references):
    found = nearest(queries, references)
    return found.distances[:, 0], found.indices[:, 0]


def by_faiss(queries, references):
    import faiss

    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references.numpy())
    squares, indices = index.search(queries.numpy(), 1)
    return np.sqrt(np.maximum(squares[:, 0], 0)), indices[:, 0]


def by_sklearn(queries, references):
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(references.numpy())
    distances, indices = model.kneighbors(queries.numpy())
    return distances[:, 0], indices[:, 0]


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


PEERS = {"faiss": by_faiss, "sklearn": by_sklearn}

if __name__ == "__main__":
    main()
