"""The four updates of a StyleGAN2 training at the published layer widths, beside the times of reference operations.

    python benchmarks/stylegan_step.py [--rounds 2 --threads 2]

G and D: one update by the adversarial loss, forward, backward, Adam and drawing the fake images included; R1 and path
length: one update by that regulariser, the latter on half a batch. Float32, RGB, two classes, channels
min(16384 / px, 512), two mapping layers. The bars are wall-clock seconds of the reference operations (one kernel for
each image, grouped convolutions) as the specification measured them on a machine with two cores.
"""

import argparse
import statistics
import time

import torch

from lib import seeding
from lib.training.stylegan import Adversaries

BARS = {(64, 8): (1.55, 1.92, 1.98, 0.90), (256, 4): (4.99, 4.85, 4.67, 2.01)}


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("rounds", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = seeding.device()
    for (size, batch), bars in BARS.items():
        print(f"{size} px, batch {batch}, {device.type}")
        for (name, update), bar in zip(updates(size, batch, device).items(), bars, strict=True):
            seconds = statistics.median([timed(update, device) for _ in range(args.rounds + 1)][1:])
            images = (batch // 2 if name == "path length" else batch) / seconds
            verdict = "met" if seconds < bar else "MISSED"
            print(f"  {name:12s} {seconds:7.3f} s (bar {bar:.2f}: {verdict}) {images:8.1f} images/s", flush=True)


def updates(size: int, batch: int, device: torch.device) -> dict:
    settings = {
        "image_size": size, "classes": 2, "channels": 3, "latent": 512, "maps": (512, 16384), "mapping_layers": 2,
        "batch": batch, "learning_rate": 2.5e-3, "gamma": 2e-4 * size**2 / batch, "r1_every": 16, "path_weight": 2.0,
        "path_every": 4, "mixing": 0.9, "augment_p": 0.0, "ada_target": 0.6, "ada_kimg": 500.0, "ema_kimg": 5.0,
        "seed": 0,
    }  # fmt: skip
    images = torch.randint(0, 256, (2 * batch, 3, size, size), dtype=torch.uint8)
    adversaries = Adversaries(images, torch.arange(2 * batch) % 2, settings, device)
    real = adversaries.batch(0)
    return {
        "G": adversaries.generate, "D": lambda: adversaries.discriminate(*real),
        "R1": lambda: adversaries.flatten(*real), "path length": adversaries.shorten,
    }  # fmt: skip


def timed(update, device: torch.device) -> float:
    """Seconds by the wall clock; on a GPU of ten updates, divided by ten."""
    repeats = 10 if device.type == "cuda" else 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()
