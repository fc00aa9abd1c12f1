"""Methods side by side: all take turns in one process, each is timed, and one is held against the others.

    timings = take_turns({"ours": step, "plain": other_step}, rounds=7, device=device)
    timings.print(images=batch)
    timings.hold("ours", timings.fastest("plain"), at_most=1.05)

The order is turned round from one round to the next, so that no method always runs first. A ratio is the median over
the rounds of the ratio within a round: what slows the machine for a while slows both.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Collection, Iterable

import torch
from torch import nn


def arguments(description: str, **defaults: int) -> argparse.ArgumentParser:
    """A parser of whole numbers by these names."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    return parser


class Timings:
    """Seconds of one call of each method, by round, in `unit`; and what each returned last."""

    def __init__(self, names: Iterable[str], unit: str):
        self.unit = unit
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.found: dict[str, object] = {}

    def median(self, name: str) -> float:
        """The median over the rounds, in seconds."""
        return statistics.median(self.seconds[name])

    def fastest(self, prefix: str = "", but: Collection[str] = ()) -> str:
        """The method of the smallest median among those whose names begin with `prefix`, but for some."""
        return min((name for name in self.seconds if name.startswith(prefix) and name not in but), key=self.median)

    def ratio(self, first: str, second: str) -> float:
        """Median over the rounds of the time of `first` over that of `second`."""
        pairs = zip(self.seconds[first], self.seconds[second], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def print(self, images: int | None = None) -> None:
        """A line for each method, the fastest first; with the images of a call, also images a second."""
        for name in sorted(self.seconds, key=self.median):
            rate = f"   {images / self.median(name):9.1f} images/{self.unit}" if images else ""
            print(f"{name:45s} {1000 * self.median(name):9.2f} m{self.unit}{rate}")

    def hold(self, ours: str, other: str, *, at_most: float) -> None:
        """A line that says whether `ours` takes at most that share of the time of `other`."""
        print(f"{ours} / {other} = {self.ratio(ours, other):.3f} (threshold {at_most}): ", end="")
        print(verdict(self.ratio(ours, other) <= at_most))


def verdict(met: bool) -> str:
    """What stands behind a threshold."""
    return "met" if met else "MISSED"


def take_turns(
    methods: dict[str, Callable],  # each called without an argument
    *,
    rounds: int,
    device: torch.device,
    warm_up: int = 1,  # rounds before the first that counts
    repeats: int | None = None,  # calls in one timing; None: ten on a GPU, one elsewhere
    wall: bool = False,  # on a CPU count by the clock on the wall
) -> Timings:
    """Timings of `rounds` rounds in which every method takes its turn.

    Seconds on a GPU, after it has finished. On a CPU, CPU seconds of the process, which a busy machine distorts least,
    or with `wall` seconds.
    """
    gpu = device.type == "cuda"
    clock = time.perf_counter if gpu or wall else time.process_time
    synchronise = torch.cuda.synchronize if gpu else lambda: None
    calls = repeats or (10 if gpu else 1)
    timings = Timings(methods, "s" if gpu or wall else "CPU-s")
    for turn in range(warm_up + rounds):
        for name in sorted(methods, reverse=turn % 2 == 1):
            synchronise()
            start = clock()
            for _ in range(calls):
                timings.found[name] = methods[name]()
            synchronise()
            if turn >= warm_up:
                timings.seconds[name].append((clock() - start) / calls)
    return timings


def as_torch_has_it(network: nn.Module) -> nn.Module:
    """The same network with torch's own convolutions instead of our equal, faster forms."""
    for module in network.modules():
        for kind in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(module, kind):
                module.__class__ = kind
    return network
