"""The key names that other projects gave the weights of MobileFaceNet.

The networks are the same up to the sizes that `mobilefacenet.Plan` describes; only the names differ.
"""

import re

import torch

from bitface.backbones.layouts import Layout, Weights

_BLOCK = r"(layer[2-7]\.\d+)\."


def _after_first(match: re.Match[str]) -> str:
    # A Residual container counts its blocks from 0; in layer 3 the strided bottleneck comes before them.
    return f"layer3.{int(match[1]) + 1}."


def _numbered(match: re.Match[str]) -> str:
    """The bottleneck of this number, counted through layers 3 to 7 of QMobileFaceNet's table I."""
    places = [f"layer{3 + row}.{i}." for row, count in enumerate((5, 1, 6, 1, 2)) for i in range(count)]
    number = int(match[1])
    return places[number] if number < len(places) else match[0]


def _completed(own: Weights) -> Weights:
    linear, mean = own.get("layer10.weight"), own.get("bn.running_mean")
    if linear is not None and linear.ndim == 4:
        own["layer10.weight"] = linear.flatten(1)  # a 1x1 convolution on a 1x1 image is a linear layer
    if mean is not None:
        # Some train the last BatchNorm without scale and shift, which is a scale of one and a shift of zero.
        own.setdefault("bn.weight", torch.ones_like(mean))
        own.setdefault("bn.bias", torch.zeros_like(mean))
    return own


def _completed_relu6(own: Weights) -> Weights:
    return {**_completed(own), "relu6": torch.tensor(6.0)}


# Widespread PyTorch MobileFaceNets (TreB1eN, cavaface, face.evoLVe): PReLU, blocks by name.
_NAMED = Layout(
    "MobileFaceNet with conv_23 ... conv_6_dw",
    ("conv1.prelu.weight", "conv_23.conv_dw.conv.weight"),
    (
        (r"^output_layer\.", ""),
        (r"^conv1\.", "layer1."),
        (r"^conv2_dw\.(model\.)?", "layer2."),
        (r"^conv_23\.", "layer3.0."),
        (r"^conv_3\.model\.(\d+)\.", _after_first),
        (r"^conv_34\.", "layer4.0."),
        (r"^conv_4\.model\.", "layer5."),
        (r"^conv_45\.", "layer6.0."),
        (r"^conv_5\.model\.", "layer7."),
        (r"^conv_6_sep\.", "layer8."),
        (r"^conv_6_dw\.", "layer9."),
        (r"^linear\.", "layer10."),
        (rf"^{_BLOCK}conv\.", r"\1.expand."),
        (rf"^{_BLOCK}conv_dw\.", r"\1.depthwise."),
        (r"\.prelu\.", ".act."),
    ),
    _completed,
)

# InsightFace's arcface_torch: the same network in numbered Sequentials, twice (mbf) or four times as wide.
_NUMBERED = Layout(
    "MobileFaceNet of arcface_torch (layers.0.layers.0 ...)",
    ("layers.0.layers.2.weight", "layers.2.layers.1.layers.0.weight"),
    (
        (r"^features\.layers\.0\.", "layer9."),
        (r"^features\.layers\.2\.", "layer10."),
        (r"^features\.layers\.3\.", "bn."),
        (r"^conv_sep\.", "layer8."),
        (r"^layers\.0\.", "layer1."),
        (r"^layers\.1\.layers\.(\d+)\.layers\.", r"layer2.\1.layers."),
        (r"^layers\.1\.", "layer2."),
        (r"^layers\.2\.", "layer3.0."),
        (r"^layers\.3\.layers\.(\d+)\.", _after_first),
        (r"^layers\.4\.", "layer4.0."),
        (r"^layers\.5\.layers\.", "layer5."),
        (r"^layers\.6\.", "layer6.0."),
        (r"^layers\.7\.layers\.", "layer7."),
        (rf"^{_BLOCK}layers\.0\.", r"\1.expand."),
        (rf"^{_BLOCK}layers\.1\.", r"\1.depthwise."),
        (rf"^{_BLOCK}layers\.2\.", r"\1.project."),
        (r"\.layers\.0\.", ".conv."),
        (r"\.layers\.1\.", ".bn."),
        (r"\.layers\.2\.", ".act."),
    ),
    _completed,
)

# foamliu's: ReLU6 everywhere but in layer 2, which is a depthwise and a pointwise convolution with ReLU.
_RELU6 = Layout(
    "MobileFaceNet with ReLU6 (dw_conv, features.N.conv, gdconv)",
    ("conv1.0.weight", "dw_conv.depthwise.weight", "gdconv.depthwise.weight"),
    (
        (r"^conv1\.0\.", "layer1.conv."),
        (r"^conv1\.1\.", "layer1.bn."),
        (r"^dw_conv\.bn1\.", "layer2.depthwise.bn."),
        (r"^dw_conv\.bn2\.", "layer2.pointwise.bn."),
        (r"^dw_conv\.(depthwise|pointwise)\.", r"layer2.\1.conv."),
        (r"^features\.(\d+)\.", _numbered),
        (rf"^{_BLOCK}conv\.0\.0\.", r"\1.expand.conv."),
        (rf"^{_BLOCK}conv\.0\.1\.", r"\1.expand.bn."),
        (rf"^{_BLOCK}conv\.1\.0\.", r"\1.depthwise.conv."),
        (rf"^{_BLOCK}conv\.1\.1\.", r"\1.depthwise.bn."),
        (rf"^{_BLOCK}conv\.2\.", r"\1.project.conv."),
        (rf"^{_BLOCK}conv\.3\.", r"\1.project.bn."),
        (r"^conv2\.0\.", "layer8.conv."),
        (r"^conv2\.1\.", "layer8.bn."),
        (r"^gdconv\.depthwise\.", "layer9.conv."),
        (r"^gdconv\.bn\.", "layer9.bn."),
        (r"^conv3\.", "layer10."),
    ),
    _completed_relu6,
)

LAYOUTS = (_NAMED, _NUMBERED, _RELU6)
