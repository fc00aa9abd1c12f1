"""MCGAN's published checkpoint: the network that it describes, and refusal of whatever is not known of it."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from lib.core.seeding import initialising
from lib.models.pretrained.mcgan import DOI, MCGAN, WEIGHTS, load_mcgan

BLOCKS = ((200, 1024, 1, 0), (1024, 512, 2, 1), (512, 256, 2, 1), (256, 128, 2, 1), (128, 64, 2, 1))


class Literal(nn.Module):
    """The published generator layer by layer, under the names of its state dict."""

    def __init__(self):
        super().__init__()
        blocks = []
        for inputs, outputs, stride, padding in BLOCKS:
            up = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
            blocks.append([up, nn.BatchNorm2d(outputs), nn.ReLU()])
        last = nn.ConvTranspose2d(64, 1, 4, 2, 1, bias=False)
        self.first_layers = nn.Sequential(*blocks[0], *blocks[1])
        self.main = nn.Sequential(
            *self.first_layers, *(layer for block in blocks[2:] for layer in block), last, nn.Tanh()
        )
        self.embed_nn = nn.Sequential(nn.Embedding(2, 50), nn.Linear(50, 100), nn.LeakyReLU(0.1))

    def forward(self, noise, labels):
        return self.main(torch.cat([noise[:, :, None, None], self.embed_nn(labels)[:, :, None, None]], dim=1))


@lru_cache
def literal() -> Literal:
    """With weights and batch statistics that no two layers share."""
    with initialising(0), torch.no_grad():
        network = Literal()
        for key, value in network.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.1, 0.3)
            elif key.endswith("num_batches_tracked"):
                value.fill_(7)
            elif key.startswith("main.") and value.ndim == 1:
                value.normal_(float(key.endswith("weight")), 0.2)
            elif key.startswith("main."):
                value.normal_(0, 0.02)
    return network.eval()


@lru_cache
def unread() -> MCGAN:
    return MCGAN()


def state() -> dict:
    return dict(literal().state_dict())


@pytest.fixture
def read(tmp_path, monkeypatch):
    """`load_mcgan` of a file that holds what is given, without the time that 58 MB and first weights take."""

    def load(stored):
        path = tmp_path / WEIGHTS
        path.touch()
        monkeypatch.setattr("lib.models.pretrained.mcgan.load_stored", lambda _: stored)
        monkeypatch.setattr("lib.models.pretrained.mcgan.MCGAN", unread)
        return load_mcgan(path)

    return load


def test_the_literal_network_is_the_published_one():
    assert sum(parameter.numel() for parameter in literal().parameters()) == 14_428_112
    keys = {key for key in state() if not key.startswith("first_layers.")}
    norms = {f"main.{at}.{name}" for at in (1, 4, 7, 10, 13) for name in nn.BatchNorm2d(1).state_dict()}
    convolutions = {f"main.{at}.weight" for at in (0, 3, 6, 9, 12, 15)}
    assert keys == norms | convolutions | {"embed_nn.0.weight", "embed_nn.1.weight", "embed_nn.1.bias"}


def test_it_draws_what_the_literal_network_draws_with_black_at_its_place(read):
    network = read({"generator": state()})
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with initialising(1):
        noise, labels = torch.randn(2, 100), torch.tensor([0, 1])
    with torch.inference_mode():
        images, expected = network(noise, labels), literal()(noise, labels)
        swapped = network(noise, 1 - labels)
    assert images.shape == (2, 1, 128, 128)
    assert (expected < -0.1).float().mean() > 0.1 < (expected > 0.1).float().mean()  # both sides are tested
    torch.testing.assert_close(images, 2 * expected.clamp(0, 1) - 1, rtol=1e-5, atol=1e-5)
    assert (swapped - images).abs().amax(dim=(1, 2, 3)).min() > 0.1  # the class is heard


@pytest.mark.parametrize(
    "others",
    [{}, {"discriminator": {}, "optim_generator": {"state": {}}, "optim_discriminator": {"param_groups": [1]}}],
    ids=["generator", "whole"],
)
@pytest.mark.parametrize("twice", [True, False])
def test_known_layouts_of_the_file_give_the_same_network(tmp_path, others, twice):
    kept = {key: value for key, value in state().items() if twice or not key.startswith("first_layers.")}
    path = tmp_path / WEIGHTS
    torch.save({"generator": kept} | others, path)
    network = load_mcgan(path)
    path.unlink()
    loaded = network.state_dict()
    for key, value in kept.items():
        ours = key.replace("first_layers", "main").replace("main", "layers").replace("embed_nn", "condition")
        assert torch.equal(loaded[ours], value)
    assert len(loaded) == 34


FAULTS = {
    "missing": (lambda s: s.pop("main.9.weight"), "1 of its .* 'main.9.weight' is missing"),
    "missing counter": (lambda s: s.pop("main.13.num_batches_tracked"), "'main.13.num_batches_tracked' is missing"),
    "missing alias": (lambda s: s.pop("first_layers.4.bias"), "'first_layers.4.bias' is missing"),
    "unknown": (lambda s: s.update({"main.15.bias": torch.zeros(1)}), "1 of its .* 'main.15.bias' is unknown"),
    "unknown kind of key": (lambda s: s.update({3: torch.zeros(1)}), "1 of its .* 3 is unknown"),
    "other name": (
        lambda s: s.update({"module.main.9.weight": s.pop("main.9.weight")}),
        "2 of its .* 'main.9.weight' is missing",
    ),
    "other shape": (
        lambda s: s.update({"embed_nn.0.weight": torch.zeros(3, 50)}),
        r"'embed_nn.0.weight' is float32 \(3, 50\), not float32 \(2, 50\)",
    ),
    "continuous condition": (
        lambda s: s.update({"embed_nn.0.weight": torch.zeros(100, 1)}),
        r"'embed_nn.0.weight' is float32 \(100, 1\), not",
    ),
    "transposed": (
        lambda s: s.update({"main.6.weight": s["main.6.weight"].transpose(0, 1)}),
        r"'main.6.weight' is float32 \(256, 512, 4, 4\), not float32 \(512, 256, 4, 4\)",
    ),
    "other dtype": (lambda s: s.update({"main.15.weight": s["main.15.weight"].half()}), "is float16 .* not float32"),
    "no tensor": (lambda s: s.update({"main.1.bias": [0.0] * 1024}), r"'main.1.bias' is list, not float32 \(1024,\)"),
    "two values": (
        lambda s: s.update({"first_layers.1.bias": s["main.1.bias"] + 1}),
        "1 of its .* 'first_layers.1.bias' is not equal to 'main.1.bias'",
    ),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_not_known_is_refused_in_one_sentence(read, change, message):
    changed = state()
    change(changed)
    with pytest.raises(ValueError, match=rf"{WEIGHTS} is not .*{message}.*; get it from doi {DOI}\.$") as caught:
        read({"generator": changed})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({"main.0.weight": torch.zeros(1)}, "'main.0.weight'"),
        ({"netG": {}}, "'netG'"),
        ({"generator": {}, "epoch": 1400}, "'epoch', 'generator'"),
        ({"generator": [1]}, "'generator'"),
        ({3: {}}, "3"),
        ({}, "dict"),
        ([torch.zeros(1)], "list"),
    ],
)
def test_another_checkpoint_is_refused_in_one_sentence(read, stored, found):
    with pytest.raises(ValueError, match=rf"{WEIGHTS} is not .* it holds {found}, and not .*doi {DOI}\.$") as caught:
        read(stored)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(read):
    changed = state() | {"main.3.weight": torch.full((1024, 512, 4, 4), torch.nan)}
    with pytest.raises(ValueError, match=r"holds NaN or infinity in main\.3\.weight: download it again"):
        read({"generator": changed})


def test_an_absent_file_is_one_sentence_with_the_doi(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        load_mcgan()
    expected = (
        f"There are no MCGAN weights at {tmp_path}/data/weights/1400_ckpt_train_cbis_ddsm.pt: download "
        "00008_C-DCGAN_MMG_MASSES.zip from https://doi.org/10.5281/zenodo.6647349 and put 1400_ckpt_train_cbis_ddsm.pt "
        "out of it into data/weights/."
    )
    assert str(caught.value) == expected


def test_a_folder_in_its_place_is_refused(tmp_path):
    (tmp_path / WEIGHTS).mkdir()
    with pytest.raises(ValueError, match="a folder, no regular file"):
        load_mcgan(tmp_path / WEIGHTS)
