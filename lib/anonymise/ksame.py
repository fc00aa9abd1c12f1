"""k-Same: every released image stands for at least k real ones.

Real images are grouped, and each group is replaced by one image. k-Same (Newton et al. 2005) takes the average of the
group, in pixels or in latent space; LCI (Pennisi et al. 2022) also walks straight between averages; k-SALSA (Jeong et
al. 2022) moves the average until its content and local style resemble the group's. Averages of one class are also ends
for `lib.anonymise.latent_walk.plan` (spec §4.4): `same_class_pairs`, then `linear` (LCI) or `plan`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.training.loop.inference import frozen
from lib.training.loop.progress import Progress
from lib.training.loop.rehearsal import Steps


class Groups(NamedTuple):
    """Outcome of `k_same`."""

    averages: Tensor  # (m, ...), of each group
    labels: np.ndarray  # (m,) int64, its most frequent class; of equals the smaller
    shares: np.ndarray  # (m, classes), of each class in the group: the soft label of k-SALSA
    group: np.ndarray  # (n,) int64, the group of each point


def same_size_groups(points: Tensor, *, k: int) -> np.ndarray:
    """Group (n,) int64 of each of points (n, ...), with k members in every group, or a few more if k does not divide n.

    Greedy: the free point of the largest summed Euclidean distance to the free points is grouped with the k − 1
    nearest of them, and so on. The fewer than k that remain join the group of the nearest average, so that no group
    is smaller than k. Of equals the first counts. ValueError where k is below 2 or above n, or a point is not finite.
    """
    rows = points.detach().flatten(1).double()
    n = len(rows)
    if not 2 <= k <= n:
        raise ValueError(f"k is {k} for {n} points: give a k from 2 to the number of points")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("points hold NaN or infinite values: project those images again or leave them out")
    apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    total = apart.sum(dim=1)
    group = torch.full((n,), -1, dtype=torch.int64, device=rows.device)
    taken = torch.zeros(n, dtype=torch.bool, device=rows.device)
    for number in range(n // k):
        seed = int(total.masked_fill(taken, -torch.inf).argmax())
        distance = apart[seed].masked_fill(taken, torch.inf)
        distance[seed] = -1.0  # itself first, also among points that equal it
        members = distance.argsort(stable=True)[:k]
        group[members], taken[members] = number, True
        total -= apart[:, members].sum(dim=1)
    if n % k:
        averages = _averages(rows[taken], group[taken], n // k)
        group[~taken] = torch.cdist(rows[~taken], averages).argmin(dim=1)
    return group.cpu().numpy()


def k_same(points: Tensor, labels, *, k: int, within_class: bool = True) -> Groups:
    """Averages of groups of at least k of the points (n, ...), images or latents, of classes `labels` (n,).

    within_class: group each class by itself (LCI and k-Same here), so that labels stay right; otherwise all together
    (k-SALSA), and an average has the shares of its members' classes. ValueError for a k larger than a class.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(points),) or labels.dtype.kind not in "iu" or (len(labels) and labels.min() < 0):
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}: give {len(points)} integers from 0")
    group = np.empty(len(points), dtype=np.int64)
    count = 0
    for label in np.unique(labels) if within_class else (None,):
        rows = np.flatnonzero(labels == label) if within_class else np.arange(len(points))
        if within_class and k > len(rows):
            raise ValueError(f"k is {k}, but class {label} has {len(rows)} images: use a smaller k or all classes")
        group[rows] = count + same_size_groups(points[torch.from_numpy(rows).to(points.device)], k=k)
        count = int(group[rows].max()) + 1
    table = np.zeros((count, int(labels.max()) + 1))
    np.add.at(table, (group, labels), 1)
    averages = _averages(points, torch.from_numpy(group).to(points.device), count)
    return Groups(averages, table.argmax(axis=1), table / table.sum(axis=1, keepdims=True), group)


def average_with_nearest_people(images, people, *, gallery, k: int, labels=None) -> np.ndarray:
    """Each image averaged with the nearest image of each of the k − 1 nearest other people: uint8 (n, h, w).

    k-Same for a case that is shown, not a set that is released: images (n, h, w) uint8 of `people` (n,); `gallery` (n,)
    bool says which may be averaged with others. Near is Euclidean in pixels. labels (n,): only images of the same
    finding are averaged (k-Same-Select). ValueError for k below 2, or fewer than k − 1 other people to choose from.
    """
    images, people, gallery = np.asarray(images), np.asarray(people), np.flatnonzero(gallery)
    gallery = gallery[np.argsort(people[gallery], kind="stable")]
    rows = torch.from_numpy(images.reshape(len(images), -1)).float()
    apart = torch.cdist(rows, rows[gallery], compute_mode="donot_use_mm_for_euclid_dist").numpy()
    apart[people[:, None] == people[gallery]] = np.inf
    if labels is not None:
        apart[np.asarray(labels)[:, None] != np.asarray(labels)[gallery]] = np.inf
    _, starts, person = np.unique(people[gallery], return_index=True, return_inverse=True)
    nearest = np.minimum.reduceat(apart, starts, axis=1)
    most = np.isfinite(nearest).sum(axis=1).min() + 1
    if not 2 <= k <= most:
        raise ValueError(f"k is {k}, but an image has {most - 1} other people to be averaged with: give 2 to {most}")
    total = images.astype(np.float64)
    for chosen in np.argsort(nearest, axis=1, kind="stable")[:, : k - 1].T:  # the first, the second, … nearest person
        own = np.where(person == chosen[:, None], apart, np.inf)
        total += images[gallery[own.argmin(axis=1)]]
    return np.round(total / k).astype(np.uint8)


def k_salsa(
    synthesis: Callable[[Tensor], Tensor],  # as in lib.anonymise.latent_walk.plan
    *,
    content: Callable[[Tensor], Tensor],  # images -> features (n, f), published MoCo-v2's ResNet-50
    style: Callable[[Tensor], Tensor],  # images -> maps (n, c, h, w), published the second convolution of VGG-19
    latents: Tensor,  # (n, ...)
    group: np.ndarray,  # (n,) that of `Groups`, counted from 0
    steps: int = 100,
    learning_rate: float = 0.1,
    content_weight: float = 1e2,
    style_weight: float = 1e-6,
    grid: int = 4,
    memory_images: int = 64,  # about as many are held at a time
) -> Tensor:
    """Latents (m, ...), one a group: their images resemble those of the group's latents in content and style.

    From the averages, Adam of a rate that rises over the first 5 % of the steps and falls as a cosine over the last
    25 % minimises content_weight · mean(1 − cosine) + style_weight · the mean squared difference of Gram matrices of
    the patches of a `grid` x `grid`, where each patch of a member is compared with the patch of the synthetic image
    whose features have the largest cosine with its own (spec §4.4). What was not stated is ours: the means, Grams that
    are not divided by their positions.

    ValueError for groups that are empty or do not fit, maps smaller than the grid, or divergence.
    """
    group = np.asarray(group)
    sizes = np.bincount(group) if group.shape == (len(latents),) and group.dtype.kind in "iu" else np.zeros(1)
    if not sizes.all():
        raise ValueError(f"group does not number groups of {len(latents)} latents from 0, none empty: use Groups.group")
    averages = _averages(latents, torch.from_numpy(group).to(latents.device), len(sizes))
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes
    report, done = Progress("k-SALSA", len(sizes), unit="groups"), 0
    with frozen(synthesis, content, style):
        for size in np.unique(sizes):  # groups of one size are one array
            same = np.flatnonzero(sizes == size)
            step = max(1, memory_images // (int(size) + 1))
            for some in (same[i : i + step] for i in range(0, len(same), step)):
                rows = torch.from_numpy(order[starts[some, None] + np.arange(size)]).to(latents.device)
                where = torch.from_numpy(some).to(latents.device)
                target = _Resemblance(synthesis, content, style, latents[rows], grid)
                target.weights = content_weight, style_weight
                share = partial(_of_some, report, done, len(some))
                averages[where] = target.approached(averages[where], steps, learning_rate, share)
                done += len(some)
    if not bool(torch.isfinite(averages).all()):
        raise ValueError("the alignment diverged (a latent is not finite): lower the learning rate")
    return averages


class _Resemblance:
    """How far images are from groups of images; what does not change of the groups is computed once."""

    weights = (1.0, 1.0)

    @torch.no_grad()
    def __init__(self, synthesis, content, style, members: Tensor, grid: int):
        self.synthesis, self.content, self.style, self.grid = synthesis, content, style, grid
        images = synthesis(members.flatten(0, 1)).clamp(-1, 1)
        per_group = members.shape[:2]
        self.features = F.normalize(content(images), dim=1).unflatten(0, per_group)
        patches = self._patches(style(images))
        self.grams = _gram(patches).unflatten(0, per_group)
        self.directions = F.normalize(patches.flatten(2), dim=2).unflatten(0, per_group)

    def losses(self, latents: Tensor) -> Tensor:
        """Content and style (2, b) of latents (b, ...), one a group."""
        images = self.synthesis(latents).clamp(-1, 1)
        cosine = torch.einsum("bkf,bf->bk", self.features, F.normalize(self.content(images), dim=1))
        patches = self._patches(self.style(images))
        directions = F.normalize(patches.detach().flatten(2), dim=2)
        match = torch.einsum("bkpx,bqx->bkpq", self.directions, directions).argmax(dim=3)
        grams = _gram(patches)[torch.arange(len(latents), device=match.device)[:, None, None], match]
        return torch.stack([(1 - cosine).mean(dim=1), (grams - self.grams).square().flatten(1).mean(dim=1)])

    def approached(self, start: Tensor, steps: int, learning_rate: float, report: Callable) -> Tensor:
        """The latents `start` after so many steps, each followed by report(steps done, all steps)."""
        latents = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([latents], fused=True)
        weights = torch.tensor(self.weights).to(start)
        for step in Steps("k-SALSA", 0, steps):
            done = (step + 1) / steps
            ramp = min(1.0, done / 0.05) * (0.5 - 0.5 * np.cos(np.pi * min(1.0, (1 - step / steps) / 0.25)))
            optimiser.param_groups[0]["lr"] = learning_rate * float(ramp)
            with torch.enable_grad():
                (latents.grad,) = torch.autograd.grad((weights @ self.losses(latents)).sum(), latents)
            optimiser.step()
            report(step + 1, steps)
        return latents.detach()

    def _patches(self, maps: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, grid², c, positions); rows and columns beyond a whole grid are left out."""
        side = [size // self.grid for size in maps.shape[2:]]
        if min(side) < 1:
            raise ValueError(f"style maps of {tuple(maps.shape[2:])} have no grid of {self.grid}: give a smaller grid")
        patches = maps.unfold(2, side[0], side[0]).unfold(3, side[1], side[1])[:, :, : self.grid, : self.grid]
        return patches.permute(0, 2, 3, 1, 4, 5).flatten(4).flatten(1, 2)


def _of_some(report: Progress, before: int, some: int, step: int, steps: int) -> None:
    """Report that `some` groups, after the `before` done, are at this step; whole numbers where they are done."""
    report(before + some if step == steps else before + some * step / steps)


def _gram(patches: Tensor) -> Tensor:
    return patches @ patches.transpose(-1, -2)


def _averages(points: Tensor, group: Tensor, count: int) -> Tensor:
    """Mean (count, ...) of each group of points (n, ...), floating point."""
    points = points.detach() if points.is_floating_point() else points.float()
    total = points.new_zeros((count, *points.shape[1:])).index_add_(0, group, points)
    return total / torch.bincount(group, minlength=count).view(-1, *[1] * (points.ndim - 1))
