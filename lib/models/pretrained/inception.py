"""Inception-v3 as the Fréchet Inception distance means it: the TensorFlow graph of 2015-12-05, to its pool3 layer.

It differs from the Inception-v3 of image classification in three places (as ported by pytorch-fid): average pools
leave the padding out of the mean, the last block pools by maximum, and there are 1,008 classes and no auxiliary
head. The key names are those of the published file `pt_inception-2015-12-05-6726825d.pth`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.core.inputs import reading
from lib.core.paths import root
from lib.core.regular_files import require_regular
from lib.core.seeding import initialising
from lib.models.pretrained.weights import load_stored, rehearsed_without, require_finite

WEIGHTS = "pt_inception-2015-12-05-6726825d.pth"

# A branch is a chain of (name, channels, kernel); a list inside a chain forks it, and the results are concatenated.
# A stride of 2 is the fourth number. "branch_pool" comes after an average (or in the last block maximum) pool.


def _block_a(pool):
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        [("branch_pool", pool, 1)],
    ]


def _block_c(inner):
    return [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", inner, 1), ("branch7x7_2", inner, (1, 7)), ("branch7x7_3", 192, (7, 1))],
        [
            ("branch7x7dbl_1", inner, 1), ("branch7x7dbl_2", inner, (7, 1)), ("branch7x7dbl_3", inner, (1, 7)),
            ("branch7x7dbl_4", inner, (7, 1)), ("branch7x7dbl_5", 192, (1, 7)),
        ],
        [("branch_pool", 192, 1)],
    ]  # fmt: skip


_BLOCK_B = [
    [("branch3x3", 384, 3, 2)],
    [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
]
_BLOCK_D = [
    [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
    [
        ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, 3, 2),
    ],
]  # fmt: skip
_BLOCK_E = [
    [("branch1x1", 320, 1)],
    [("branch3x3_1", 384, 1), [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]],
    [
        ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3),
        [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
    ],
    [("branch_pool", 192, 1)],
]  # fmt: skip
_STEM = (
    ("1a_3x3", 32, 3, 2, 0), ("2a_3x3", 32, 3, 1, 0), ("2b_3x3", 64, 3, 1, 1), ("3b_1x1", 80, 1, 1, 0),
    ("4a_3x3", 192, 3, 1, 0),
)  # fmt: skip
# name, input channels, branches, pool of the block
_MIXED = (
    ("Mixed_5b", 192, _block_a(32), "average"),
    ("Mixed_5c", 256, _block_a(64), "average"),
    ("Mixed_5d", 288, _block_a(64), "average"),
    ("Mixed_6a", 288, _BLOCK_B, "halve"),
    ("Mixed_6b", 768, _block_c(128), "average"),
    ("Mixed_6c", 768, _block_c(160), "average"),
    ("Mixed_6d", 768, _block_c(160), "average"),
    ("Mixed_6e", 768, _block_c(192), "average"),
    ("Mixed_7a", 768, _BLOCK_D, "halve"),
    ("Mixed_7b", 1280, _BLOCK_E, "average"),
    ("Mixed_7c", 2048, _BLOCK_E, "maximum"),
)


class Inception(nn.Module):
    """(n, 1 or 3, h, w) images -> (n, 2048) float32 pool3 features, of which FID is the Fréchet distance.

    Images are uint8, or float in [0, 1]; one grey channel is used three times. They are resized to 299 x 299
    bilinearly without antialiasing and scaled to [-1, 1]. Use in eval mode (`load_inception` gives it so).
    ValueError for another shape or range, or NaN.
    """

    def __init__(self):
        super().__init__()
        inputs = 3
        for name, outputs, kernel, stride, padding in _STEM:
            setattr(self, f"Conv2d_{name}", _Convolution(inputs, outputs, kernel, stride, padding))
            inputs = outputs
        for name, inputs, branches, pool in _MIXED:
            setattr(self, name, _Mixed(inputs, branches, pool))
        self.fc = nn.Linear(2048, 1008)  # in the published file; not on the way to pool3

    def forward(self, images: Tensor) -> Tensor:
        x = _prepared(images)
        for name, *_ in _STEM:
            x = getattr(self, f"Conv2d_{name}")(x)
            if name in ("2b_3x3", "4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        for name, *_ in _MIXED:
            x = getattr(self, name)(x)
        return x.mean(dim=(2, 3))


class _Convolution(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, padding):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class _Mixed(nn.Module):
    """Parallel branches over one input, concatenated; `pool` is "average", "maximum", or "halve" (stride 2)."""

    def __init__(self, inputs, branches, pool):
        super().__init__()
        self.pool, self.plan = pool, []
        for branch in branches:
            channels, chain = inputs, []
            for link in branch:
                fork = link if isinstance(link, list) else [link]
                for name, outputs, kernel, *stride in fork:
                    step, padding = (stride[0], 0) if stride else (1, "same")
                    setattr(self, name, _Convolution(channels, outputs, kernel, step, padding))
                chain.append([name for name, *_ in fork])
                channels = sum(outputs for _, outputs, *_ in fork)
            self.plan.append(chain)

    def forward(self, x: Tensor) -> Tensor:
        results = []
        for chain in self.plan:
            y = self._pooled(x) if chain[0] == ["branch_pool"] else x
            for fork in chain:
                y = torch.cat([getattr(self, name)(y) for name in fork], dim=1)
            results.append(y)
        if self.pool == "halve":
            results.append(F.max_pool2d(x, 3, 2))
        return torch.cat(results, dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "maximum":
            return F.max_pool2d(x, 3, 1, 1)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _prepared(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"Inception takes (n, 1 or 3, h, w) images, not {tuple(images.shape)}.")
    if images.dtype == torch.uint8:
        images = images.float() / 255
    elif not images.is_meta and not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError("Inception takes uint8 images, or float ones in [0, 1] without NaN: scale them.")
    images = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
    return (2 * images - 1).expand(-1, 3, -1, -1)


def load_inception(path=None) -> Inception:
    """The network with its published weights, in eval mode, from `path` or data/weights/.

    FileNotFoundError that says where to get the file; ValueError for a damaged file or other keys than its own.
    """
    path = reading(path or root() / "data" / "weights" / WEIGHTS)
    if rehearsed_without(path):
        with initialising(0):
            return Inception().eval()
    if not path.exists():
        raise FileNotFoundError(
            f"There are no Inception weights at {path}: download "
            f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS} into data/weights/."
        )
    require_regular(path)
    try:
        stored = load_stored(path)
        stored = {key: torch.as_tensor(value) for key, value in stored.items()}
    except Exception as error:  # whatever a hostile or truncated file makes the reader raise
        raise ValueError(f"The weights file {path} is damaged or not plain tensors: download it again.") from error
    with torch.device("meta"):
        model = Inception()
    own = model.state_dict()
    # Counters of training batches: absent from old files, and without effect in eval mode.
    counters = {key: torch.zeros((), dtype=torch.long) for key in own if key.endswith("num_batches_tracked")}
    stored = counters | stored
    wrong = sorted(own.keys() ^ stored.keys()) + sorted(
        key for key in own.keys() & stored.keys() if own[key].shape != stored[key].shape
    )
    if wrong:
        raise ValueError(
            f"The weights file {path} is not {WEIGHTS}: {len(wrong)} keys differ, the first is {wrong[0]}; download it."
        )
    require_finite(stored, path)
    model.load_state_dict(stored, assign=True)
    return model.requires_grad_(False).eval()
