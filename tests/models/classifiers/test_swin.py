"""Swin: published sizes and keys, attention against literal loops, per-sample gradients against micro-batches."""

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator

from lib.core.seeding import initialising
from lib.models.classifiers.swin import (
    VARIANTS,
    Swin,
    WindowAttention,
    _StochasticDepth,
    classifier_head,
    swin_classifier,
)
from lib.models.pretrained.weights import read_weights

TINY = {"patch": 2, "window": 4, "width": 8, "depths": (2, 2), "heads": (2, 4)}


def _tiny(classes=3, **options):
    with initialising(0):
        return Swin(classes, **(TINY | options))


def _torchvision_shapes(*, patch=4, window=7, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), classes=1000):
    """Key -> shape of the state dict of torchvision 0.28's `swin_t`, written out from its listing."""
    shapes = {"features.0.0.weight": (width, 3, patch, patch), "features.0.0.bias": (width,)}
    shapes |= {"features.0.2.weight": (width,), "features.0.2.bias": (width,)}
    for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
        for block in range(depth):
            at = f"features.{2 * stage + 1}.{block}."
            shapes |= {
                at + "norm1.weight": (width,), at + "norm1.bias": (width,),
                at + "attn.relative_position_bias_table": ((2 * window - 1) ** 2, count),
                at + "attn.relative_position_index": (window**4,),
                at + "attn.qkv.weight": (3 * width, width), at + "attn.qkv.bias": (3 * width,),
                at + "attn.proj.weight": (width, width), at + "attn.proj.bias": (width,),
                at + "norm2.weight": (width,), at + "norm2.bias": (width,),
                at + "mlp.0.weight": (4 * width, width), at + "mlp.0.bias": (4 * width,),
                at + "mlp.3.weight": (width, 4 * width), at + "mlp.3.bias": (width,),
            }  # fmt: skip
        if stage < len(depths) - 1:
            at = f"features.{2 * stage + 2}."
            shapes[at + "reduction.weight"] = (2 * width, 4 * width)
            shapes |= {at + "norm.weight": (4 * width,), at + "norm.bias": (4 * width,)}
            width *= 2
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return shapes | {"head.weight": (classes, width), "head.bias": (classes,)}


def _torchvision_state(**sizes):
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.zeros(shape, dtype=torch.long) if key.endswith("_index")
        else 0.2 * torch.randn(shape, generator=generator)
        for key, shape in _torchvision_shapes(**sizes).items()
    }  # fmt: skip


def _count(module):
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_swin_t_has_the_published_parameters():
    with torch.device("meta"):
        assert _count(Swin()) == 28_288_354
    shapes = _torchvision_shapes()
    assert len(shapes) == 185
    assert sum(np.prod(s) for k, s in shapes.items() if not k.endswith("_index")) == 28_288_354
    with torch.device("meta"):
        swin_classifier("whole", classes=1000, weights={key: torch.empty(shape) for key, shape in shapes.items()})


@pytest.mark.parametrize(
    ("variant", "trainable"), [("frozen_two_layer", 296_066), ("whole", 27_520_892), ("frozen_linear", 1_538)]
)
def test_published_trainable_parameters(variant, trainable):
    with torch.device("meta"):
        model = swin_classifier(variant)
    assert _count(model) == trainable
    if variant != "whole":
        assert _count(model.head) == trainable


def test_torchvision_weights_land_where_they_belong():
    state = _torchvision_state(patch=2, window=4, width=8, depths=(2, 2), heads=(2, 4), classes=3)
    model = swin_classifier("whole", classes=3, weights=state, **TINY)
    block = model.stages[3][1]
    pairs = [
        (model.stages[0].projection.weight, "features.0.0.weight"),
        (model.stages[0].norm.bias, "features.0.2.bias"),
        (model.stages[2].reduction.weight, "features.2.reduction.weight"),
        (block.attention.qkv.weight, "features.3.1.attn.qkv.weight"),
        (block.attention.position_bias.weight, "features.3.1.attn.relative_position_bias_table"),
        (block.mlp[0].weight, "features.3.1.mlp.0.weight"),
        (block.mlp[2].weight, "features.3.1.mlp.3.weight"),
        (model.head.bias, "head.bias"),
    ]
    for ours, key in pairs:
        assert torch.equal(ours, state[key]), key


def test_unfitting_weights_are_named():
    state = _torchvision_state(patch=2, window=4, width=8, depths=(2, 2), heads=(2, 4), classes=3)
    del state["norm.bias"]
    state["features.9.stray"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(5)
    with pytest.raises(ValueError, match="missing: norm.bias; unexpected: stages.9.stray; of another shape: norm.we"):
        swin_classifier("whole", classes=3, weights=state, **TINY)


@pytest.mark.parametrize(
    ("high", "wide", "shift"), [(4, 4, 2), (8, 8, 0), (8, 12, 2), (7, 10, 2), (3, 9, 2), (5, 5, 1)]
)
def test_attention_equals_literal_loops(high, wide, shift):
    with initialising(1):
        attention = WindowAttention(6, 2, 4, shift).double()
        attention.qkv.bias.data.normal_()
        attention.position_bias.weight.data.normal_()
        x = torch.randn(2, high, wide, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), _literal_attention(attention, x), rtol=1e-11, atol=1e-11)


def _literal_attention(layer, x):
    """Each position, each head, each partner in its window, one after the other."""
    n, high, wide, width = x.shape
    m, heads, size = layer.window, layer.heads, x.shape[-1] // layer.heads
    sides = [m * -(-high // m), m * -(-wide // m)]
    shifts = [layer.shift if side > m else 0 for side in sides]
    padded = torch.zeros(n, *sides, width, dtype=x.dtype)
    padded[:, :high, :wide] = x
    qkv = padded @ layer.qkv.weight.T + layer.qkv.bias
    q, k, v = (qkv[..., i * width : (i + 1) * width].unflatten(-1, (heads, size)).numpy() for i in range(3))
    table = layer.position_bias.weight.numpy()
    window = {}  # (window, came round?) -> positions with their place in the window
    for y in range(sides[0]):
        for z in range(sides[1]):
            place = [(p - s) % side for p, s, side in zip((y, z), shifts, sides, strict=True)]
            round_ = [p < s for p, s in zip((y, z), shifts, strict=True)]
            key = (place[0] // m, place[1] // m, *round_)
            window.setdefault(key, []).append((y, z, place[0] % m, place[1] % m))
    out = np.zeros((n, *sides, heads, size))
    for members in window.values():
        for y, z, row, column in members:
            for b in range(n):
                for h in range(heads):
                    scores = []
                    for y2, z2, row2, column2 in members:
                        bias = table[(row - row2 + m - 1) * (2 * m - 1) + column - column2 + m - 1, h]
                        scores.append(q[b, y, z, h] @ k[b, y2, z2, h] / size**0.5 + bias)
                    weights = np.exp(np.array(scores) - max(scores))
                    values = np.stack([v[b, y2, z2, h] for y2, z2, *_ in members])
                    out[b, y, z, h] = weights @ values / weights.sum()
    out = torch.from_numpy(out[:, :high, :wide].reshape(n, high, wide, width))
    return out @ layer.proj.weight.T + layer.proj.bias


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("size", [(16, 16), (22, 13)])
def test_opacus_gives_every_parameter_its_per_sample_gradient(size):
    model = _tiny(stochastic_depth=0.0).double()
    assert ModuleValidator.validate(model) == []
    with initialising(2):
        images, labels = torch.randn(4, 3, *size, dtype=torch.float64), torch.tensor([0, 1, 2, 1])
    loss = torch.nn.CrossEntropyLoss(reduction="sum")
    expected = {name: [] for name, _ in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        gradients = torch.autograd.grad(loss(model(image[None]), label[None]), list(model.parameters()))
        for name, gradient in zip(expected, gradients, strict=True):
            expected[name].append(gradient)
    watched = GradSampleModule(model, loss_reduction="sum")
    loss(watched(images), labels).backward()
    wrong = [
        name for name, parameter in model.named_parameters()
        if not torch.allclose(parameter.grad_sample, torch.stack(expected[name]), rtol=1e-9, atol=1e-12)
    ]  # fmt: skip
    assert wrong == []
    assert all(torch.stack(g).abs().max() > 0 for g in expected.values())


def test_frozen_backbone_stays_in_eval_mode_and_gets_no_gradient():
    model = swin_classifier("frozen_two_layer", stochastic_depth=0.9, **TINY).train()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(model.features(images), model.features(images))
    model(images).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == [
        "head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"
    ]  # fmt: skip
    assert torch.equal(model.head(model.features(images)), model(images))


def test_stochastic_depth_drops_images_and_keeps_the_mean():
    layer, x = _StochasticDepth(0.25), torch.ones(4000, 2, 3)
    with initialising(3):
        y = layer(x)
    assert set(y[:, 0, 0].tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert torch.equal(y, y[:, :1, :1].expand_as(y))
    assert abs(y.mean() - 1) < 0.04
    assert layer.eval()(x) is x


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_classifier_from_a_file_leaves_the_1000_classes_out(tmp_path, suffix):
    state = _torchvision_state(patch=2, window=4, width=8, depths=(2, 2), heads=(2, 4), classes=1000)
    path = tmp_path / f"swin{suffix}"
    torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
    for variant in ("frozen_two_layer", "whole"):
        model = swin_classifier(variant, weights=path, **TINY)
        assert torch.equal(model.norm.weight, state["norm.weight"])
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 2)
    with pytest.raises(ValueError, match="hold no linear head of 2 classes: frozen_linear continues"):
        swin_classifier("frozen_linear", weights=path, **TINY)


def test_warm_start_continues_the_whole_classifier_head_included():
    whole = _tiny(2)
    warm = swin_classifier("frozen_linear", weights=whole.state_dict(), **TINY).eval()
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(warm(images), whole.eval()(images))
    assert _count(warm) == _count(warm.head) == 2 * 16 + 2
    again = swin_classifier("frozen_two_layer", weights=whole.state_dict(), **TINY)
    trained = swin_classifier("frozen_two_layer", weights=again.state_dict(), **TINY)
    assert torch.equal(again.head[2].weight, trained.head[2].weight)


def test_absent_or_damaged_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Swin_T_Weights.IMAGENET1K_V1 from https://download.*data/weights/"):
        swin_classifier("whole", weights=tmp_path / "none.pth")
    for name, content in (("a.pth", b"PK\x03\x04 cut"), ("b.safetensors", b"\x08"), ("c.pth", b"cos\nsystem\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is damaged or not plain tensors"):
            read_weights(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "d.pth")
    with pytest.raises(ValueError, match="is not a state dict"):
        read_weights(tmp_path / "d.pth")


def test_unknown_variant_is_refused():
    for function in (swin_classifier, classifier_head):
        with pytest.raises(ValueError, match=f"'half' is not one of {', '.join(VARIANTS)}"):
            function("half")


def test_grey_crops_are_upsampled_and_used_three_times():
    small = {"classes": 2, "width": 12, "depths": (1, 1), "heads": (1, 2), "patch": 2, "window": 2}
    with initialising(0):
        resizing, plain = Swin(**small, input_size=16).eval(), Swin(**small).eval()
    plain.load_state_dict(resizing.state_dict())
    grey = torch.randn(3, 1, 8, 8)
    colour = F.interpolate(grey, size=(16, 16), mode="bilinear").repeat(1, 3, 1, 1)
    torch.testing.assert_close(resizing(grey), plain(colour))
