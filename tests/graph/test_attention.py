"""Attention in the forms that people write, from modules and from ONNX files: imported, as products of matrices."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional

from bitface.errors import BitfaceError
from bitface.graph import from_module, from_onnx

TOKENS, WIDTH, HEADS = 9, 16, 2
Mix = Callable[["Network", Tensor], Tensor]


class Network(nn.Module):
    """Patches, one form of attention, an embedding."""

    def __init__(self, mix: Mix, batch_first: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.Parameter(torch.randn(HEADS, WIDTH // HEADS, WIDTH))
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first)
        self.embedding = nn.Linear(TOKENS * WIDTH, 8)
        self.mix = mix

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.mix(self, self.patches(x).flatten(2).transpose(1, 2)).flatten(1))


def split(m: Network, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As timm splits query, key and value: `[3, N, heads, tokens, size]`."""
    q, k, v = m.qkv(x).reshape(x.shape[0], TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], TOKENS, WIDTH)


def products(m: Network, x: Tensor) -> Tensor:
    q, k, v = split(m, x)
    return m.proj(joined((q @ k.transpose(-2, -1) * 0.35).softmax(-1) @ v))


def scaled_dot_product(m: Network, x: Tensor) -> Tensor:
    return joined(functional.scaled_dot_product_attention(*split(m, x), scale=0.3))


def named_axes(m: Network, x: Tensor) -> Tensor:
    q, k, v = split(m, x)
    weights = torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1)
    return torch.einsum("bqhd,hde->bqe", torch.einsum("bhqk,bhkd->bqhd", weights, v), m.heads)


def heads_in_the_batch(m: Network, x: Tensor) -> Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    apart = (one.reshape(x.shape[0], TOKENS, HEADS, -1).transpose(1, 2) for one in (q, k, v))
    q, k, v = (one.reshape(x.shape[0] * HEADS, TOKENS, -1) for one in apart)
    mixed = torch.bmm(torch.bmm(q * 0.35, k.transpose(1, 2)).softmax(-1), v)
    return joined(mixed.reshape(x.shape[0], HEADS, TOKENS, -1))


def module(m: Network, x: Tensor) -> Tensor:
    return m.attention(x, x, x, need_weights=False)[0]


def tokens_first(m: Network, x: Tensor) -> Tensor:
    x = x.transpose(0, 1)
    x = x + m.attention(m.norm(x), m.norm(x), m.norm(x))[0]
    return (x + m.proj(functional.gelu(x))).transpose(0, 1)


def windows(m: Network, x: Tensor) -> Tensor:
    """Attention within three windows, each with scores of its own that are added."""
    rows = x.reshape(-1, TOKENS // 3, WIDTH)
    q, k, v = m.qkv(rows).reshape(-1, TOKENS // 3, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    scores = (q @ k.transpose(-2, -1)).view(x.shape[0], 3, HEADS, TOKENS // 3, TOKENS // 3)
    added = m.heads.flatten()[: 3 * (TOKENS // 3) ** 2].view(3, 1, TOKENS // 3, TOKENS // 3)
    weights = (scores + added).view(-1, HEADS, TOKENS // 3, TOKENS // 3).softmax(-1)
    return x + (weights @ v).transpose(1, 2).reshape(x.shape[0], TOKENS, WIDTH)


def rows_of_tokens(m: Network, x: Tensor) -> Tensor:
    """As TensorFlow writes a layer on tokens: all of the batch's as rows of one matrix."""
    q, k, v = split(m, functional.gelu(m.proj(x.reshape(-1, WIDTH))).reshape(-1, TOKENS, WIDTH))
    return joined((q @ k.transpose(-2, -1)).softmax(-1) @ v)


MIXES: dict[str, tuple[Mix, bool]] = {
    "products": (products, True),
    "scaled dot product": (scaled_dot_product, True),
    "named axes": (named_axes, True),
    "heads in the batch": (heads_in_the_batch, True),
    "module": (module, True),
    "windows": (windows, True),
    "rows of tokens": (rows_of_tokens, True),
    "tokens first": (tokens_first, False),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return Network(*MIXES[name]).eval()


def kinds(graph: GraphModule) -> Counter[str]:
    return Counter(type(one).__name__ for one in graph.modules())


@pytest.mark.parametrize("name", [one for one in MIXES if one != "tokens first"])
def test_modules(name: str) -> None:
    model, images = network(name), torch.randn(3, 3, 24, 24)
    graph = from_module(model, size=(24, 24)).graph
    torch.testing.assert_close(graph(images), model(images))
    assert kinds(graph)["MatMul"] == 2


@pytest.mark.parametrize("free", [True, False], ids=["free batch", "one image"])
@pytest.mark.parametrize("name", MIXES)
def test_exported_files(name: str, free: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, images, path = network(name), torch.randn(3, 3, 24, 24), tmp_path / "net.onnx"
    axes = {"image": {0: "n"}} if free else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, that it is the older one
        torch.onnx.export(
            model, (images[:1],), str(path), dynamo=False, opset_version=14 if name != "module" else 17,
            input_names=["image"], dynamic_axes=axes,
        )  # fmt: skip
    graph, _ = from_onnx(path)
    torch.testing.assert_close(graph(images), model(images))
    assert kinds(graph)["MatMul"] == 2
    assert kinds(graph)["LayerNorm"] == (1 if name == "tokens first" else 0)


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (lambda m, x: (x.transpose(0, 1) @ x.permute(1, 2, 0)).transpose(0, 1)[:, :1], "along the batch"),
        (lambda m, x: x.permute(1, 0, 2).softmax(1).permute(1, 0, 2), "compares the images"),
        (lambda m, x: x.permute(1, 0, 2).flip(0).permute(1, 0, 2), "first axis isn't the batch"),
        (lambda m, x: m.attention(x.permute(1, 0, 2), x.permute(1, 0, 2), x.permute(1, 0, 2))[0], "batch_first"),
        (lambda m, x: torch.einsum("bqd,ckd->bqk", x, x), "the product"),
        (lambda m, x: functional.scaled_dot_product_attention(*split(m, x), is_causal=True), "a mask"),
    ],
)
def test_refused_forms(mix: Mix, message: str) -> None:
    with pytest.raises(BitfaceError, match=message):
        from_module(Network(mix), size=(24, 24))
