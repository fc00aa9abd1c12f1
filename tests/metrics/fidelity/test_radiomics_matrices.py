"""The matrices of radiomics equal their definitions."""

import numpy as np
import pytest
import torch

from lib.metrics.fidelity import radiomics_matrices as matrices

SMALL = np.array([[0, 0, 1, 2, 2], [0, 1, 1, 2, 0], [3, 1, 0, 0, 0], [3, 3, 1, 0, 2], [1, 3, 2, 2, 2]])


STEPS = [(0, 1), (1, 0), (1, 1), (1, -1)]


def grids():
    rng = np.random.default_rng(3)
    drawn = [rng.integers(0, 2, (6, 9)), rng.integers(0, 5, (7, 4))]
    return [SMALL, *drawn, np.zeros((3, 3), int), SMALL[:1], SMALL[:, :1]]


def inside(grid, pixel):
    return 0 <= pixel[0] < grid.shape[0] and 0 <= pixel[1] < grid.shape[1]


def moved(pixel, step, sign=1):
    return pixel[0] + sign * step[0], pixel[1] + sign * step[1]


def steps_of(grid):
    return [s for s in STEPS if any(inside(grid, moved(p, s)) for p in np.ndindex(grid.shape))]


def slow_cooccurrence(grid, n):
    counts = np.zeros((len(steps_of(grid)), n, n), int)
    for k, step in enumerate(steps_of(grid)):
        for pixel in np.ndindex(grid.shape):
            other = moved(pixel, step)
            if inside(grid, other):
                counts[k, grid[pixel], grid[other]] += 1
                counts[k, grid[other], grid[pixel]] += 1
    return counts


def slow_runs(grid):
    found = []
    for k, step in enumerate(steps_of(grid)):
        for pixel in np.ndindex(grid.shape):
            before = moved(pixel, step, -1)
            if inside(grid, before) and grid[before] == grid[pixel]:
                continue
            length, after = 1, moved(pixel, step)
            while inside(grid, after) and grid[after] == grid[pixel]:
                length, after = length + 1, moved(after, step)
            found.append((k, grid[pixel], length))
    return sorted(found)


def slow_zones(grid):
    left, found = set(np.ndindex(grid.shape)), []
    while left:
        edge = [left.pop()]
        level, size = grid[edge[0]], 0
        while edge:
            pixel = edge.pop()
            size += 1
            for step in np.ndindex(3, 3):
                near = moved(pixel, (step[0] - 1, step[1] - 1))
                if near in left and grid[near] == level:
                    left.remove(near)
                    edge.append(near)
        found.append((0, level, size))
    return sorted(found)


def neighbours(grid, pixel):
    near = [moved(pixel, (a - 1, b - 1)) for a, b in np.ndindex(3, 3) if (a, b) != (1, 1)]
    return [grid[p] for p in near if inside(grid, p)]


def slow_dependences(grid):
    return sorted(
        (0, grid[p], 1 + sum(level == grid[p] for level in neighbours(grid, p))) for p in np.ndindex(grid.shape)
    )


def slow_differences(grid, n):
    sums = np.zeros(n)
    for p in np.ndindex(grid.shape):
        sums[grid[p]] += abs(grid[p] - np.mean(neighbours(grid, p)))
    return sums


def listed(cells):
    return sorted(
        (row, level, size)
        for row, level, size, count in zip(*(x.tolist() for x in cells), strict=True)
        for _ in range(count)
    )


@pytest.mark.parametrize("grid", grids(), ids=lambda g: "x".join(map(str, g.shape)))
def test_matrices_equal_their_definitions(grid):
    n = int(grid.max()) + 1
    levels = torch.from_numpy(grid.astype(np.uint8))[None]
    assert matrices.histogram(levels, n)[0].tolist() == np.bincount(grid.ravel(), minlength=n).tolist()
    assert matrices.cooccurrence(levels, n)[0].tolist() == slow_cooccurrence(grid, n).tolist()
    assert listed(matrices.runs(levels, n)) == slow_runs(grid)
    assert listed(matrices.zones(levels, n)) == slow_zones(grid)
    assert listed(matrices.dependences(levels, n)) == slow_dependences(grid)
    np.testing.assert_allclose(matrices.neighbour_differences(levels, n)[0], slow_differences(grid, n), rtol=1e-12)


def test_matrices_of_a_batch_do_not_mix_images():
    rng = np.random.default_rng(4)
    stack = rng.integers(0, 3, (5, 6, 7))
    levels = torch.from_numpy(stack.astype(np.uint8))
    for build, slow in ((matrices.runs, slow_runs), (matrices.zones, slow_zones)):
        cells = listed(build(levels, 3))
        steps = 4 if build is matrices.runs else 1
        expected = [(i * steps + k, level, size) for i, grid in enumerate(stack) for k, level, size in slow(grid)]
        assert cells == sorted(expected)
