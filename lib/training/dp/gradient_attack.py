"""Membership inference by the strongest adversary of DP-SGD, one who sees each noisy gradient.

That is the adversary whom the accountant's ε holds against, so that an audit with it comes nearest to that ε. An
adversary who sees only the last weights, or only generated images, sees a function of the same gradients.
"""

from functools import partial
from hashlib import sha256

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.training.dp.gan import Trace
from lib.training.dp.per_sample_gradients import FlatParameters, per_sample_gradients
from lib.training.loop.dataset import DeviceDataset
from lib.training.loop.progress import Progress
from lib.training.loop.resume import cached


def traced_scores(discriminator: nn.Module, trace: Trace, images, *, path=None, engine: str = "layers") -> np.ndarray:
    """How surely each of `images` (m, s, s) uint8 was trained on, by all noisy gradients: (m,) float64, larger surer.

    At a step with weights w the sum released is z = Σ b_i S_i g_i + noise, over the m images that may have been
    included: g_i the clipped gradient at w, which the adversary computes, S_i the coin and b_i ~ Bernoulli(q) whether
    it was drawn. The score is the linear estimate of S − ½ of least squared error from all steps: with s the noise's
    SD, c = q (1 − q) / 2 the variance of b S by the draw, G (m, p) and K = G Gᵀ,

        (4 I + Σ_t q² (s² I + c K)⁻¹ K)⁻¹ Σ_t q (s² I + c K)⁻¹ G (z − (q/2) Gᵀ 1).

    The training set must not hold further images that were always trained on: they would be taken for noise.
    `discriminator` gives the two logits (generated, real) of `lib.training.dp.gan`; its weights are left as they are.
    path: folder to keep the scores in; those found there, of the same trace and images, are returned.
    """
    examples = DeviceDataset(images, None, device=next(discriminator.parameters()).device)
    if path is None:
        return _traced_scores(discriminator, trace, examples, engine)
    released = sha256(trace.noisy.cpu().numpy().tobytes()).hexdigest()
    settings = {"images": examples.digest, "trace": [released, *trace[2:]]}
    return cached(
        path, settings, lambda: {"scores": torch.from_numpy(_traced_scores(discriminator, trace, examples, engine))}
    )["scores"].numpy()


def _traced_scores(discriminator: nn.Module, trace: Trace, examples: DeviceDataset, engine: str) -> np.ndarray:
    inputs, real = examples.inputs(slice(None)), torch.ones(len(examples), dtype=torch.int64)
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    flat = FlatParameters(discriminator)
    m, q = len(inputs), trace.sample_rate
    noise, spread = (trace.noise_multiplier * trace.clip) ** 2, q * (1 - q) / 2
    identity = torch.eye(m, dtype=torch.float64, device=inputs.device)
    known, seen = 4 * identity, torch.zeros(m, dtype=torch.float64, device=inputs.device)
    report = Progress("gradient attack", len(trace.noisy))
    try:
        for done, (weights, noisy) in enumerate(zip(trace.weights, trace.noisy, strict=True), 1):
            with torch.no_grad():
                flat.vector.copy_(weights)
            gradients = clipped_gradients(flat, inputs, real.to(inputs.device), clip=trace.clip, engine=engine)
            centred = noisy.to(gradients) - q / 2 * gradients.sum(dim=0)
            gram = (gradients @ gradients.T).double()
            # Without noise, and where gradients are nearly alike, float32's rounding stands in for it.
            least = 1e-6 * float(gram.diagonal().mean())
            factor = torch.linalg.cholesky(spread * gram + max(noise, least) * identity)
            solved = torch.cholesky_solve(torch.cat([q * gram, (gradients @ centred).double()[:, None]], dim=1), factor)
            known += q * solved[:, :-1]
            seen += q * solved[:, -1]
            report(done)
    finally:
        flat.release()
        discriminator.load_state_dict(before)
    return torch.linalg.solve(known, seen).cpu().numpy()


@torch.no_grad()
def discriminator_scores(discriminator: nn.Module, images) -> np.ndarray:
    """How real the discriminator finds each of `images` (m, s, s) uint8, by its two logits: (m,) float64.

    The attack on a published discriminator (Hayes et al. 2019), which may have memorised its training images.
    """
    examples = DeviceDataset(images, None, device=next(discriminator.parameters()).device)
    logits = discriminator(examples.inputs(slice(None)))
    return (logits[:, 1] - logits[:, 0]).double().cpu().numpy()


def clipped_gradients(flat: FlatParameters, inputs: Tensor, labels: Tensor, *, clip: float, engine: str) -> Tensor:
    """Per-sample gradients (n, p) of the cross-entropy, each shortened to norm `clip` where longer."""
    loss = partial(F.cross_entropy, reduction="none")
    rows, _ = per_sample_gradients(flat, inputs, labels, loss=loss, engine=engine)
    return rows * (clip / (rows.norm(dim=1, keepdim=True) + 1e-6)).clamp_max(1)
