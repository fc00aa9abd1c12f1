"""Bootstrap of a table of 14 findings over 22,433 radiographs: time of 10,000 draws, and the ratio to a scikit-learn
loop.

    python benchmarks/diagnostic.py [--draws 10000 --radiographs 22433 --loop 2]

Findings are as rare as in NIH ChestX-ray14's test radiographs; a draw holds 10,000 radiographs, as published. All seven
metrics of all findings are computed, in one thread. The loop computes the AUC alone, of `--loop` draws, and is scaled
up. Threshold: <= 20 s on two cores for 10,000 draws; the values of the loop's draws equal to 1e-12.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from lib.metrics.utility.diagnostic import closest_cut, diagnostic_bootstrap
from lib.statistics.bootstrap import patient_weights
from lib.statistics.weighted import WeightedAuroc

SECONDS, SAME = 20, 1e-12
TEST_RADIOGRAPHS = 22_433
POSITIVES = (2423, 582, 2756, 3944, 1139, 1337, 260, 1089, 957, 413, 509, 362, 734, 42)


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("draws", 10_000), ("radiographs", TEST_RADIOGRAPHS), ("loop", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    rarity = rng.random((args.radiographs, len(POSITIVES))).argsort(axis=0)
    labels = rarity < np.array(POSITIVES) * args.radiographs // TEST_RADIOGRAPHS
    scores = 1 / (1 + np.exp(2 - rng.normal(size=labels.shape) - labels))
    cuts = closest_cut(labels, scores)
    cpu, wall = time.process_time(), time.perf_counter()
    diagnostic_bootstrap(labels, scores, cuts=cuts, size=10_000, draws=args.draws, rng=rng)
    scale = 10_000 / args.draws
    wall, cpu = scale * (time.perf_counter() - wall), scale * (time.process_time() - cpu)
    print(
        f"{args.draws:,} draws x {len(POSITIVES)} findings x {args.radiographs:,} radiographs, per 10,000 draws: ",
        end="",
    )
    print(f"{wall:.1f} s, {cpu:.1f} CPU-s (threshold {SECONDS} s): {'met' if wall <= SECONDS else 'MISSED'}")
    weights = patient_weights(np.arange(args.radiographs), draws=args.loop, size=10_000, rng=rng)
    start = time.perf_counter()
    expected = []
    for row in weights:
        radiographs = np.repeat(np.arange(args.radiographs), row)
        expected.append([roc_auc_score(labels[radiographs, j], scores[radiographs, j]) for j in range(len(POSITIVES))])
    loop = 10_000 / args.loop * (time.perf_counter() - start)
    apart = np.abs(WeightedAuroc(labels, scores)(weights) - expected).max()
    print(f"the loop over scikit-learn takes {loop:.0f} s for the AUC alone: {loop / wall:.0f} times as long, ", end="")
    print(f"{apart:.0e} apart (threshold {SAME}): {'met' if apart <= SAME else 'MISSED'}")


if __name__ == "__main__":
    main()
