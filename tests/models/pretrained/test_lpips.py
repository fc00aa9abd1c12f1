"""LPIPS: the published layout, the definition spelt out, exact zeros, weights absent or foreign, and the substitute."""

import pytest
import torch
import torch.nn.functional as F

from lib.core.seeding import initialising
from lib.models.pretrained.lpips import TRUNKS, Lpips, RotationCNN, embedding, load_lpips, rotations

SHAPES = {
    "alex": {"layers.0.weight": (64, 3, 11, 11), "layers.3.weight": (192, 64, 5, 5), "layers.10.bias": (256,)},
    "vgg": {"layers.2.weight": (64, 64, 3, 3), "layers.14.weight": (256, 256, 3, 3), "layers.28.bias": (512,)},
}
COUNTS = {"alex": 2_469_696 + 1_152, "vgg": 14_714_688 + 1_472}


@pytest.mark.parametrize("trunk", TRUNKS)
def test_layout_is_the_published_one(trunk):
    with torch.device("meta"):
        model = Lpips(trunk)
    state = model.state_dict()
    assert {key: tuple(state[key].shape) for key in SHAPES[trunk]} == SHAPES[trunk]
    assert sum(p.numel() for p in model.parameters()) == COUNTS[trunk]
    widths = {"alex": [64, 192, 384, 256, 256], "vgg": [64, 128, 256, 512, 512]}[trunk]
    sides = {"alex": [15, 7, 3, 3, 3], "vgg": [64, 32, 16, 8, 4]}[trunk]
    maps = model.maps(torch.empty(2, 1, 64, 64, device="meta"))
    assert [tuple(x.shape) for x in maps] == [(2, w, s, s) for w, s in zip(widths, sides, strict=True)]
    assert model.name == f"lpips_{trunk}"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Files as the two publishers lay them out, with random weights; the trunk's classifier is beside them."""
    folder = tmp_path_factory.mktemp("weights")
    with initialising(0):
        model = Lpips("alex")
        state = {key.replace("layers", "features"): value for key, value in model.state_dict().items()}
        body = {key: value for key, value in state.items() if key.startswith("features")}
        torch.save(body | {"classifier.6.bias": torch.zeros(1000)}, folder / TRUNKS["alex"])
        heads = {f"lin{i}.model.1.weight": torch.rand(1, len(head), 1, 1) for i, head in enumerate(model.heads)}
        torch.save(heads, folder / "lpips_alex.pth")
    return folder, body, heads


def test_distance_is_the_definition_spelt_out(published):
    folder, body, heads = published
    model = load_lpips(folder=folder)
    generator = torch.Generator().manual_seed(1)
    first, second = (2 * torch.rand(2, 3, 40, 40, generator=generator) - 1 for _ in range(2))

    def layers(x):
        x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[
            :, None, None
        ]
        plan = ((0, 4, 2, False), (3, 1, 2, True), (6, 1, 1, True), (8, 1, 1, False), (10, 1, 1, False))
        for at, stride, padding, pooled in plan:
            x = F.max_pool2d(x, 3, 2) if pooled else x
            x = F.conv2d(x, body[f"features.{at}.weight"], body[f"features.{at}.bias"], stride, padding).relu()
            yield x

    expected = torch.zeros(2)
    for i, (x, y) in enumerate(zip(layers(first), layers(second), strict=True)):
        x, y = (z / (z.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for z in (x, y))
        weighted = F.conv2d((x - y).square(), heads[f"lin{i}.model.1.weight"])
        expected += weighted.mean(dim=(1, 2, 3))
    with torch.no_grad():
        torch.testing.assert_close(model(first, second), expected, rtol=1e-4, atol=1e-7)
        assert model(first, first).eq(0).all()
        torch.testing.assert_close(model(first, second), model(second, first))
        grey = first[:, :1]
        torch.testing.assert_close(model.features(grey), model.features(grey.expand(-1, 3, -1, -1)))
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_weights_that_are_absent_or_foreign(published, tmp_path):
    message = f"alexnet.*download.pytorch.org.* and lpips_alex.pth is absent: .*{RotationCNN.name}, .* not LPIPS"
    with pytest.raises(FileNotFoundError, match=message):
        load_lpips(folder=tmp_path)
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / TRUNKS["alex"])
    torch.save({}, tmp_path / "lpips_alex.pth")
    with pytest.raises(ValueError, match="are not those of LPIPS"):
        load_lpips(folder=tmp_path)
    (tmp_path / TRUNKS["alex"]).write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match="damaged"):
        load_lpips(folder=tmp_path)
    with pytest.raises(ValueError, match="unknown trunk 'squeeze': choose one of alex, vgg"):
        load_lpips("squeeze", folder=tmp_path)
    with pytest.raises(ValueError, match="give"):
        Lpips().maps(torch.zeros(1, 2, 64, 64))


def test_rotations():
    images = torch.arange(18).view(2, 3, 3)
    turned, turns = rotations(images)
    assert torch.equal(turned[:2], images)
    assert torch.equal(turned[4], images[0].flip(0, 1))
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_substitute_is_no_lpips_but_a_distance():
    """It has another name, exact zeros, and does not see contrast: activations are scaled to unit length."""
    with initialising(0):
        model, images = RotationCNN().eval(), torch.rand(3, 1, 16, 16)
    assert "lpips" not in model.name
    with torch.no_grad():
        features = model.features(images)
        assert model(images).shape == (3, 4)
        lengths = features.square().sum(dim=1)  # one a layer, if any channel is active at every position
        assert (lengths <= 4 + 1e-5).all()
        assert (lengths > 3).all()
        assert torch.equal(features[0], model.features(images[:1])[0]) or torch.allclose(
            features[0], model.features(images[:1])[0], atol=1e-6
        )
    maps = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    torch.testing.assert_close(embedding(maps), embedding([5 * maps[0], maps[1] / 3]))
    torch.testing.assert_close(embedding(maps), embedding(maps, [torch.ones(3), torch.ones(5)]))
