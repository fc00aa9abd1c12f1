"""MS-SSIM of 64 pairs of 256 x 256 images: ours against MONAI and pytorch-msssim.

    python benchmarks/similarity.py [--pairs 64 --size 256 --rounds 5 --threads 2]

The peers (pip install --no-deps monai pytorch-msssim) get float32, as is usual; ours gets the same tensors and computes
in float64. They take turns in one process. Printed are the medians of the time on the wall, the distance of each from
a literal float64 version, which is pytorch-msssim with a float64 window and float64 images, and the ratio to the
faster peer. Thresholds: >= 2.5 times the faster peer; ours equal to that version to 1e-6.
"""

import importlib.util

import torch

from lib.metrics.diversity.ms_ssim import SIGMA, WINDOW, ms_ssim
from side_by_side import arguments, take_turns, verdict

FASTER, SAME = 2.5, 1e-6


def main():
    args = arguments(__doc__, pairs=64, size=256, rounds=5, threads=2).parse_args()
    torch.set_num_threads(args.threads)
    first = smooth(args.pairs, args.size)
    second = (0.7 * first + 0.3 * first.roll(1, dims=0)).round()
    methods = {"ours": lambda: torch.from_numpy(ms_ssim(first, second, data_range=255))}
    if importlib.util.find_spec("monai"):
        methods["MONAI"] = by_monai(first, second)
    if importlib.util.find_spec("pytorch_msssim"):
        methods["pytorch-msssim"] = by_pytorch_msssim(first, second)
        exact = by_pytorch_msssim(first.double(), second.double(), win=window())()
    timings = take_turns(methods, rounds=args.rounds, device=torch.device("cpu"), wall=True)
    timings.print()
    if len(methods) < 3:
        print("not evaluated: install MONAI and pytorch-msssim")
        return
    apart = {name: float((values.flatten().double() - exact).abs().max()) for name, values in timings.found.items()}
    print(", ".join(f"{name} is {distance:.1e} off" for name, distance in apart.items()))
    ratio = timings.ratio(timings.fastest(but={"ours"}), "ours")
    met = ratio >= FASTER and apart["ours"] <= SAME
    print(f"{ratio:.1f} times as fast as the faster peer (threshold {FASTER}), {verdict(met)}")


def smooth(n: int, size: int) -> torch.Tensor:
    """Textures (n, size, size) of whole numbers 0 to 255, float32."""
    noise = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))
    coarse = torch.nn.functional.avg_pool2d(noise, 9, 1, 4)[:, 0]
    return (255 * (coarse - coarse.amin()) / (coarse.amax() - coarse.amin())).round()


def by_monai(first, second):
    from monai.metrics import MultiScaleSSIMMetric

    metric = MultiScaleSSIMMetric(spatial_dims=2, data_range=255, kernel_size=WINDOW, kernel_sigma=SIGMA)
    return lambda: metric._compute_metric(first[:, None], second[:, None])


def by_pytorch_msssim(first, second, **options):
    from pytorch_msssim import ms_ssim as peer

    pair = first[:, None], second[:, None]
    return lambda: peer(*pair, data_range=255, size_average=False, **options)


def window() -> torch.Tensor:
    """The Gaussian window (1, 1, 1, 11) in float64."""
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    values = torch.exp(-offset.square() / (2 * SIGMA**2))
    return (values / values.sum())[None, None, None]


if __name__ == "__main__":
    main()
