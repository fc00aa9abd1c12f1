"""DenseNet-121: published size and names, old and new weight files, preparation of radiographs, a literal forward
pass."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.classifiers.densenet import WEIGHTS, DenseNet, load_imagenet, prepared
from lib.models.classifiers.factory import classifier

TINY = {"growth": 4, "blocks": (2, 3), "stem": 8, "input_size": 32}


def _tiny(classes=3, seed=0):
    with initialising(seed):
        return DenseNet(classes, **TINY)


def _norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def _published_shapes(*, growth=32, blocks=(6, 12, 24, 16), stem=64, classes=1000):
    """Key -> shape of the published ImageNet file, spelt out from its documented layout: `norm.1`, no counters."""
    shapes = {"features.conv0.weight": (stem, 3, 7, 7)} | _norm("features.norm0", stem)
    width = stem
    for block, layers in enumerate(blocks, 1):
        for layer in range(1, layers + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            shapes |= _norm(f"{at}.norm.1", width) | {f"{at}.conv.1.weight": (4 * growth, width, 1, 1)}
            shapes |= _norm(f"{at}.norm.2", 4 * growth) | {f"{at}.conv.2.weight": (growth, 4 * growth, 3, 3)}
            width += growth
        if block < len(blocks):
            at = f"features.transition{block}"
            shapes |= _norm(f"{at}.norm", width) | {f"{at}.conv.weight": (width // 2, width, 1, 1)}
            width //= 2
    return shapes | _norm("features.norm5" if len(blocks) == 4 else f"features.norm{len(blocks) + 1}", width) | {
        "classifier.weight": (classes, width), "classifier.bias": (classes,),
    }  # fmt: skip


def _published_state(**options):
    generator = torch.Generator().manual_seed(0)
    sizes = {key: value for key, value in TINY.items() if key != "input_size"}
    return {key: torch.rand(shape, generator=generator) for key, shape in _published_shapes(**sizes, **options).items()}


@pytest.mark.parametrize(("classes", "count"), [(1000, 7_978_856), (14, 6_968_206)])
def test_parameter_counts_are_the_published_ones(classes, count):
    with torch.device("meta"):
        model = DenseNet(classes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        state = DenseNet(1000).state_dict()
    newer = {
        key.replace(".norm.1.", ".norm1.").replace(".norm.2.", ".norm2.")
        .replace(".conv.1.", ".conv1.").replace(".conv.2.", ".conv2."): shape
        for key, shape in _published_shapes().items()
    }  # fmt: skip
    counters = {key.replace("running_mean", "num_batches_tracked"): () for key in newer if "running_mean" in key}
    assert {name: tuple(value.shape) for name, value in state.items()} == newer | counters
    assert len(newer) == 606  # 364 parameters and two statistics of each of 121 norms


def test_old_and_new_key_names_load_and_imagenets_classes_are_left_out(tmp_path):
    state = _published_state()
    torch.save(state, tmp_path / "old.pth")
    model = load_imagenet(_tiny(), tmp_path / "old.pth")
    pairs = {
        "features.conv0.weight": "features.conv0.weight",
        "features.denseblock2.denselayer3.norm1.running_var": "features.denseblock2.denselayer3.norm.1.running_var",
        "features.denseblock1.denselayer2.conv2.weight": "features.denseblock1.denselayer2.conv.2.weight",
        "features.transition1.norm.bias": "features.transition1.norm.bias",
        "features.norm3.running_mean": "features.norm3.running_mean",
    }
    for own, theirs in pairs.items():
        assert torch.equal(model.state_dict()[own], state[theirs]), own
    assert torch.equal(model.classifier.weight, _tiny().classifier.weight)
    torch.save(model.state_dict(), tmp_path / "new.pth")
    again = load_imagenet(_tiny(seed=1), tmp_path / "new.pth")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert torch.equal(load_imagenet(_tiny(1000), tmp_path / "old.pth").classifier.bias, state["classifier.bias"])


def test_absent_damaged_or_other_weights_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"https://download.pytorch.org/models/{WEIGHTS} into data/weights/"):
        classifier("densenet", classes=14, seed=0)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ValueError, match="cut.pth is damaged or not plain tensors"):
        load_imagenet(_tiny(), tmp_path / "cut.pth")
    state = _published_state()
    state["features.conv0.weight"] = torch.zeros(8, 1, 7, 7)
    state["stray"] = state.pop("features.norm3.bias")
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"3 keys differ \(features.norm3.bias, stray, features.conv0.weight\)"):
        load_imagenet(_tiny(), tmp_path / "other.pth")


def test_a_classifier_by_name_starts_from_another_one(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.models.classifiers.factory.densenet.DenseNet", lambda classes: _tiny(classes))
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    warm = classifier("densenet", classes=3, seed=0, start=_tiny(3, seed=5))
    assert torch.equal(warm.classifier.weight, _tiny(3, seed=5).classifier.weight)
    with pytest.raises(ValueError, match="unknown variant 'frozen_linear' of densenet: choose whole"):
        classifier("densenet", variant="frozen_linear", seed=0, start=warm)


def test_forward_equals_a_literal_one():
    model = _tiny().double().eval()
    with initialising(1):
        images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
        for module in model.modules():  # statistics that are not the neutral ones
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    state = model.state_dict()

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"features.{name}.{part}"].view(-1, 1, 1) for part in parts)
        return ((x - mean) / (var + 1e-5).sqrt() * weight + bias).relu()

    x = F.conv2d(prepared(images, 32), state["features.conv0.weight"], stride=2, padding=3)
    x = F.max_pool2d(norm(x, "norm0"), 3, 2, 1)
    for block, layers in ((1, 2), (2, 3)):
        for layer in range(1, layers + 1):
            at = f"denseblock{block}.denselayer{layer}"
            y = F.conv2d(norm(x, f"{at}.norm1"), state[f"features.{at}.conv1.weight"])
            y = F.conv2d(norm(y, f"{at}.norm2"), state[f"features.{at}.conv2.weight"], padding=1)
            x = torch.cat([x, y], dim=1)
        if block == 1:  # as published: convolve, then halve
            x = F.avg_pool2d(F.conv2d(norm(x, "transition1.norm"), state["features.transition1.conv.weight"]), 2)
    expected = norm(x, "norm3").mean(dim=(2, 3)) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


def test_radiographs_are_resized_by_the_shorter_side_cropped_in_the_middle_and_normalised():
    grey = np.tile(np.arange(96, dtype=np.uint8), (64, 1))  # brightness is the column
    out = prepared(torch.from_numpy(grey)[None, None], 32)
    assert out.shape == (1, 3, 32, 32)
    back = out * torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
    columns = 255 * back[0, 1, 16]  # 96 columns become 48 of two pixels each, of which the middle 32 are 8..39
    torch.testing.assert_close(columns, 2 * torch.arange(8.0, 40.0) + 0.5, rtol=0, atol=1e-3)
    as_input = torch.from_numpy(grey)[None, None] / 127.5 - 1
    torch.testing.assert_close(prepared(as_input, 32), out, rtol=0, atol=1e-5)
    assert prepared(torch.zeros(1, 1, 48, 32), 32).shape == prepared(torch.zeros(1, 3, 31, 20), 32).shape
    with pytest.raises(ValueError, match=r"takes \(n, 1 or 3, h, w\) radiographs, not \(2, 32, 32\)"):
        prepared(torch.zeros(2, 32, 32), 32)


def test_it_trains_on_grey_radiographs():
    model = _tiny()
    loss = F.binary_cross_entropy_with_logits(model(torch.randn(4, 1, 20, 20).clamp(-1, 1)), torch.ones(4, 3))
    loss.backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())
