from typing import Any

import pytest
import torch

from bitface import backbones
from bitface.backbones.registry import BACKBONES
from bitface.errors import UsageError


def test_names() -> None:
    expected = {
        "mobilefacenet",
        "iresnet18",
        "iresnet34",
        "iresnet50",
        "iresnet100",
        "resnet18",
        "mobilenetv2",
        "vit_t",
        "vit_s",
        "vit_b",
        "edgeface_xs",
        "edgeface_s",
    }
    assert set(backbones.names()) == expected


def test_names_are_sorted_by_size() -> None:
    with torch.device("meta"):
        sizes = [sum(value.numel() for value in backbones.create(name).parameters()) for name in backbones.names()]
    assert sizes == sorted(sizes)
    assert [round(size / 1e6, 1) for size in sizes] == [BACKBONES[name].millions for name in backbones.names()]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("mobilfacenet", "mobilefacenet"), ("iresnet-50", "iresnet50"), ("R100", "iresnet100")],
)
def test_unknown_name_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"unknown network '{name}'.*'{nearest}'"):
        backbones.create(name)


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no option 'activaton'.*'activation'"):
        backbones.create("mobilefacenet", activaton="relu")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("iresnet18:0", {}, "impossible"),
        ("mobilefacenet:", {}, "must be a number"),
        ("mobilefacenet:wide", {}, "must be a number"),
        ("mobilefacenet:nan", {}, "impossible"),
        ("mobilefacenet:-1", {}, "impossible"),
        ("mobilefacenet:0.5", {"width": 0.5}, "once"),
        ("vit_t:0.5,depth=2", {"depth": 3}, "give the depth once"),
        ("vit_t:depth=two", {}, "depth must be a number"),
        ("vit_t:depht=2", {}, "no option 'depht'; did you mean 'depth'"),
        ("vit_t:0.5,depth=0", {}, "impossible"),
        ("vit_t:-1", {}, "impossible"),
        ("edgeface_xs", {"rank_ratio": 2}, "impossible"),
        ("edgeface_xs", {"input_size": 16}, "too small"),
        ("mobilefacenet", {"width": "0.5"}, "impossible"),
        ("mobilefacenet", {"activation": "swish"}, "prelu, relu, relu6"),
        ("mobilefacenet", {"depthwise_activation": "no"}, "true or false"),
        ("mobilefacenet", {"input_size": (112, 112, 3)}, "impossible"),
        ("resnet18", {"dropout": 1.0}, "impossible"),
        ("iresnet18", {"dropout": "0.4"}, "impossible"),
    ],
)
def test_impossible_requests(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        backbones.create(name, **options)
