"""What every network of the registry has to do, and what each of them is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import fx, nn

from bitface import backbones
from bitface.errors import UsageError

LARGE = ("iresnet100", "vit_s", "vit_b")
CASES: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in backbones.names() if name not in LARGE}
CASES |= {
    "half-width": ("mobilefacenet:0.5", {}),
    **{f"narrow {name}": (f"{name}:0.3", {}) for name in ("iresnet18", "resnet18", "mobilenetv2")},
    **{f"narrow {name}": (f"{name}:0.125,depth=2", {}) for name in ("vit_t", "vit_s", "vit_b")},
    **{f"narrow {name}": (f"{name}:0.5", {}) for name in ("edgeface_xs", "edgeface_s")},
    "low rank": ("edgeface_xs", {"rank_ratio": 0.6}),
    "odd-width": ("mobilefacenet:0.3", {}),
    "relu": ("mobilefacenet", {"activation": "relu"}),
    "relu6": ("mobilefacenet", {"activation": "relu6"}),
    "qmobilefacenet": ("mobilefacenet", {"activation": "relu", "depthwise_activation": False}),
}


@pytest.mark.parametrize("case", CASES)
class TestEveryNetwork:
    def create(self, case: str, **more: Any) -> nn.Module:
        torch.manual_seed(0)
        name, options = CASES[case]
        return backbones.create(name, **options, **more)

    def test_forward_gives_finite_embeddings_in_train_and_eval(self, case: str) -> None:
        network = self.create(case, embedding_size=24)
        faces = torch.randn(2, 3, 112, 112)
        for training in (True, False):
            with torch.no_grad():
                embeddings = network.train(training)(faces)
            assert embeddings.shape == (2, 24)
            assert embeddings.isfinite().all()

    def test_every_trained_parameter_receives_a_gradient(self, case: str) -> None:
        network = self.create(case, input_size=32).train()
        out = network(torch.randn(6, 3, 32, 32))
        (out * torch.randn_like(out)).sum().backward()
        for name, parameter in network.named_parameters():
            if name.endswith("features.weight"):
                assert not parameter.requires_grad
                assert parameter.eq(1).all()
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
    def test_weights_come_back_from_a_file(
        self, case: str, suffix: str, tmp_path: Path, scramble: Callable[[nn.Module], nn.Module]
    ) -> None:
        network = scramble(self.create(case, embedding_size=40, input_size=32)).eval()
        path = tmp_path / f"weights{suffix}"
        save_file(network.state_dict(), path) if suffix != ".pt" else torch.save(network.state_dict(), path)
        loaded = backbones.load(path)
        assert not loaded.training
        assert type(loaded) is type(network)
        faces = 4 * torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(loaded(faces), network(faces))
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        assert trained == {name for name, parameter in loaded.named_parameters() if parameter.requires_grad}

    def test_trace_computes_the_same(self, case: str) -> None:
        network = self.create(case, input_size=32).eval()
        traced = fx.symbolic_trace(network)
        faces = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.equal(traced(faces), network(faces))

    def test_no_module_is_called_twice_or_does_nothing(self, case: str) -> None:
        traced = fx.symbolic_trace(self.create(case, input_size=32))
        called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
        assert len(called) == len(set(called))
        assert not any(isinstance(module, nn.Identity) for module in traced.modules())

    def test_impossible_sizes_are_named(self, case: str) -> None:
        for wrong in ({"embedding_size": 0}, {"embedding_size": True}, {"input_size": 0}):
            with pytest.raises(UsageError, match="impossible"):
                self.create(case, **wrong)


def test_iresnet100() -> None:
    network = backbones.create("iresnet100").eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 65_156_160
    assert network.train()(torch.randn(2, 3, 112, 112)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("mobilefacenet", 1_003_136, 128),
        ("iresnet18", 24_025_600, 512),
        ("iresnet34", 34_139_328, 512),
        ("iresnet50", 43_590_848, 512),
    ],
)
def test_parameter_counts_and_default_sizes(name: str, count: int, size: int) -> None:
    with torch.device("meta"):
        network = backbones.create(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert network(torch.empty(2, 3, 112, 112, device="meta")).shape == (2, size)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2"])
def test_rcm_networks_end_in_seven_by_seven_and_256_values(name: str) -> None:
    with torch.device("meta"):
        network = backbones.create(name)
    shapes = []
    network.head.bn.register_forward_hook(lambda module, args, out: shapes.append(out.shape[2:]))
    assert network(torch.empty(2, 3, 112, 112, device="meta")).shape == (2, 256)
    assert shapes == [(7, 7)]
    assert network.head.dropout.p == 0.4


def test_mobilenetv2_has_the_rows_of_its_table_2_at_half_the_size() -> None:
    with torch.device("meta"):
        network = backbones.create("mobilenetv2")
    seen = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:3])))
    network(torch.empty(2, 3, 112, 112, device="meta"))
    rows = [(16, 112, 1), (24, 56, 2), (32, 28, 3), (64, 14, 4), (96, 14, 3), (160, 7, 3), (320, 7, 1)]
    assert seen == [(channels, side) for channels, side, count in rows for _ in range(count)]


def test_mobilefacenet_has_the_rows_of_table_1() -> None:
    with torch.device("meta"):
        network = backbones.create("mobilefacenet")
    seen = {}
    for number in range(1, 10):
        network.get_submodule(f"layer{number}").register_forward_hook(
            lambda module, args, out, number=number: seen.update({number: tuple(out.shape[1:])})
        )
    network(torch.empty(2, 3, 112, 112, device="meta"))
    assert seen == {
        1: (64, 56, 56),
        2: (64, 56, 56),
        3: (64, 28, 28),
        4: (128, 14, 14),
        5: (128, 14, 14),
        6: (128, 7, 7),
        7: (128, 7, 7),
        8: (512, 7, 7),
        9: (512, 1, 1),
    }
    assert [len([*network.get_submodule(f"layer{number}").children()]) for number in range(3, 8)] == [5, 1, 6, 1, 2]


def test_qmobilefacenet_has_nothing_after_its_depthwise_convolutions() -> None:
    network = backbones.create("mobilefacenet", activation="relu", depthwise_activation=False)
    followers: dict[str, list[str]] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            parent = network.get_submodule(name.rpartition(".")[0])
            followers[name] = [type(child).__name__ for child in parent.children()][1:]
    assert len(followers) == 17
    assert followers.pop("layer2.conv") == ["ReLU"]
    biased = {name for name, module in network.named_modules() if getattr(module, "bias", None) is not None}
    assert {name for name in biased if not name.endswith("bn")} == {"layer2.conv"}
    assert all(not after for after in followers.values())


@pytest.mark.parametrize(("name", "kind"), [("prelu", nn.PReLU), ("relu", nn.ReLU), ("relu6", nn.ReLU6)])
def test_every_activation_of_a_mobilefacenet_is_the_one_asked_for(name: str, kind: type) -> None:
    network = backbones.create("mobilefacenet", activation=name)
    assert [type(module) for key, module in network.named_modules() if key.endswith("act")] == 33 * [kind]


def test_non_square_faces() -> None:
    network = backbones.create("mobilefacenet:0.5", input_size=(112, 96)).eval()
    assert network(torch.randn(1, 3, 112, 96)).shape == (1, 128)
    assert backbones.from_state_dict(network.state_dict())(torch.randn(1, 3, 112, 96)).shape == (1, 128)
