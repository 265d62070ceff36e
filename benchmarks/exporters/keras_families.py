"""Families of face networks in Keras, of 2 and of 3, NHWC as Keras has it: name → model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as l

FACE = (112, 112, 3)


def act(x: Any, kind: str) -> Any:
    if kind == "prelu":
        return l.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.RandomUniform(-0.05, 0.5))(x)
    if kind == "hswish":
        return l.Multiply()([x, l.Activation("hard_sigmoid")(x)])
    if kind == "relu6":
        return l.ReLU(6.0)(x)
    if kind == "leaky":
        return l.LeakyReLU(0.1)(x)
    return l.Activation(kind)(x) if kind else x


def norm(x: Any, scale: bool = True, eps: float = 1e-3) -> Any:
    near = keras.initializers.RandomUniform(0.7, 1.3)
    return l.BatchNormalization(
        momentum=0.0,
        scale=scale,
        epsilon=eps,
        gamma_initializer=near,
        beta_initializer=keras.initializers.RandomNormal(stddev=0.2),
    )(x)


def unit(x: Any, o: int, k: Any = 1, s: int = 1, kind: str = "prelu", pad: str = "same") -> Any:
    return act(norm(l.Conv2D(o, k, s, pad, use_bias=False, kernel_initializer="he_normal")(x)), kind)


def depthwise(x: Any, k: int = 3, s: int = 1, kind: str = "prelu", pad: str = "same") -> Any:
    return act(norm(l.DepthwiseConv2D(k, s, pad, use_bias=False, depthwise_initializer="he_normal")(x)), kind)


def inverted(x: Any, o: int, s: int = 1, e: int = 2, kind: str = "prelu", se: bool = False, k: int = 3) -> Any:
    i = x.shape[-1]
    y = depthwise(unit(x, i * e, kind=kind), k, s, kind)
    if se:
        y = squeeze(y)
    y = unit(y, o, kind="")
    return l.Add()([x, y]) if s == 1 and i == o else y


def squeeze(x: Any, gate: str = "sigmoid") -> Any:
    c = x.shape[-1]
    y = l.Reshape((1, 1, c))(l.GlobalAveragePooling2D()(x))
    y = l.Conv2D(c, 1, activation=gate)(l.Conv2D(max(c // 4, 4), 1, activation="relu")(y))
    return l.Multiply()([x, y])


def end(x: Any, kind: str = "gdc", unit_length: bool = False) -> Any:
    if kind == "gdc":
        x = norm(l.DepthwiseConv2D(x.shape[1], use_bias=False)(x))
        x = l.Flatten()(l.Conv2D(64, 1, use_bias=False)(x))
    elif kind == "flat":
        x = l.Dense(64, use_bias=False)(l.Flatten()(l.Dropout(0.4)(norm(x))))
    else:
        x = l.Dense(64, use_bias=False)(l.GlobalAveragePooling2D()(x))
    x = norm(x)
    return l.UnitNormalization(axis=-1)(x) if unit_length else x


def mobilefacenet(image: Any, kind: str = "prelu", **of_end: Any) -> Any:
    x = depthwise(unit(image, 16, 3, 2, kind), kind=kind)
    x = inverted(inverted(x, 16, 2, kind=kind), 16, kind=kind)
    x = inverted(inverted(x, 32, 2, 4, kind), 32, kind=kind)
    return end(unit(inverted(x, 32, 2, 4, kind), 96, kind=kind), **of_end)


def resnet(image: Any, kind: str = "prelu", se: bool = False, padded: bool = False) -> Any:
    """Deepface's ArcFace: zero padding as a layer of its own, valid convolutions, PReLU."""
    x = unit(l.ZeroPadding2D(1)(image), 16, 3, kind=kind, pad="valid")
    for o, s in [(16, 2), (24, 2), (24, 1), (32, 2), (48, 2)]:
        y = act(norm(l.Conv2D(o, 3, 1, "valid", use_bias=False)(l.ZeroPadding2D(1)(norm(x)))), kind)
        y = norm(l.Conv2D(o, 3, s, "valid", use_bias=False)(l.ZeroPadding2D(1)(y)))
        y = squeeze(y) if se else y
        x = l.Add()([unit(x, o, 1, s, "") if s > 1 or x.shape[-1] != o else x, y])
    return end(x, "flat")


def ghostfacenet(image: Any) -> Any:
    def ghost(x: Any, o: int, kind: str) -> Any:
        first = unit(x, o // 2, kind=kind)
        return l.Concatenate()([first, depthwise(first, kind=kind)])

    def block(x: Any, mid: int, o: int, s: int, se: bool) -> Any:
        y = ghost(x, mid, "prelu")
        y = depthwise(y, 3, s, "") if s > 1 else y
        y = ghost(squeeze(y, "hard_sigmoid") if se else y, o, "")
        shortcut = x if s == 1 and x.shape[-1] == o else unit(depthwise(x, 3, s, ""), o, kind="")
        return l.Add()([shortcut, y])

    x = block(unit(image, 12, 3, 2), 24, 16, 2, False)
    x = block(block(x, 32, 16, 1, True), 40, 24, 2, True)
    return end(unit(block(x, 64, 32, 2, True), 80))


def facenet(image: Any) -> Any:
    """Inception-ResNet with scaled residuals, as keras-facenet has it."""

    def branch(x: Any, *convs: tuple[int, Any]) -> Any:
        for o, k in convs:
            x = act(norm(l.Conv2D(o, k, 1, "same", use_bias=False)(x), scale=False), "relu")
        return x

    def block(x: Any, scale: float, *branches: tuple[tuple[int, Any], ...]) -> Any:
        y = l.Concatenate()([branch(x, *convs) for convs in branches])
        y = l.Conv2D(x.shape[-1], 1)(y)
        return act(l.Add()([x, l.Rescaling(scale)(y)]), "relu")

    x = unit(unit(image, 8, 3, 2, "relu", "valid"), 16, 3, kind="relu", pad="valid")
    x = unit(l.MaxPooling2D(3, 2)(x), 32, 3, 2, "relu", "valid")
    x = block(x, 0.17, ((8, 1),), ((8, 1), (8, 3)), ((8, 1), (8, 3), (8, 3)))
    x = l.Concatenate()([unit(x, 32, 3, 2, "relu", "valid"), l.MaxPooling2D(3, 2)(x)])
    x = block(x, 0.1, ((16, 1),), ((16, 1), (16, (1, 7)), (16, (7, 1))))
    return end(x, "gap", True)


def vggface(image: Any) -> Any:
    """VGG-Face: zero padding, pooling, and dense layers written as convolutions of the whole map."""
    x = image
    for o in (8, 16, 24, 32):
        x = l.MaxPooling2D(2, 2)(l.Conv2D(o, 3, activation="relu")(l.ZeroPadding2D(1)(x)))
    x = l.Conv2D(96, 7, activation="relu")(x)
    return l.Flatten()(l.Conv2D(64, 1)(l.Dropout(0.5)(x)))


def deepid(image: Any) -> Any:
    x = l.MaxPooling2D(2, 2)(l.Conv2D(20, 4, activation="relu")(image))
    x = l.MaxPooling2D(2, 2)(l.Conv2D(40, 3, activation="relu")(x))
    third = l.MaxPooling2D(2, 2)(l.Conv2D(24, 3, activation="relu")(x))
    fourth = l.Conv2D(32, 2, activation="relu")(third)
    return act(l.Add()([l.Dense(64)(l.Flatten()(third)), l.Dense(64)(l.Flatten()(fourth))]), "relu")


def vit(image: Any, kind: str = "gelu") -> Any:
    x = l.Reshape((49, 32))(l.Conv2D(32, 16, 16)(image))
    for _ in range(2):
        y = l.LayerNormalization(epsilon=1e-6)(x)
        x = l.Add()([x, l.MultiHeadAttention(4, 8)(y, y)])
        y = l.Dense(64, activation=kind)(l.LayerNormalization(epsilon=1e-6)(x))
        x = l.Add()([x, l.Dense(32)(y)])
    return l.Dense(64)(l.GlobalAveragePooling1D()(l.LayerNormalization(epsilon=1e-6)(x)))


def convnext(image: Any) -> Any:
    x = l.LayerNormalization(epsilon=1e-6)(l.Conv2D(16, 4, 4)(image))
    for o in (24, 40):
        y = l.LayerNormalization(epsilon=1e-6)(l.DepthwiseConv2D(7, padding="same")(x))
        y = l.Dense(x.shape[-1])(l.Dense(2 * x.shape[-1], activation="gelu")(y))
        x = l.Conv2D(o, 2, 2)(l.LayerNormalization(epsilon=1e-6)(l.Add()([x, y])))
    return l.Dense(64)(l.LayerNormalization(epsilon=1e-6)(l.GlobalAveragePooling2D()(x)))


def separable(image: Any) -> Any:
    x = unit(image, 16, 3, 2, "relu")
    for o in (24, 32, 48):
        x = act(norm(l.SeparableConv2D(o, 3, 2, "same", use_bias=False)(act(x, "relu"))), "relu")
    return end(x, "gap")


def enlarged(image: Any) -> Any:
    x = unit(image, 16, 3, 4, "relu")
    coarse = unit(unit(x, 24, 3, 2, "relu"), 16, 1, kind="")
    x = act(l.Add()([x, l.UpSampling2D(2, interpolation="bilinear")(coarse)]), "relu")
    return end(unit(x, 32, 3, 4, "relu"), "gap")


def prepared(image: Any) -> Any:
    """Raw pixels, resized and normalised inside."""
    x = l.Rescaling(1 / 127.5, -1)(l.Resizing(112, 112)(image))
    return mobilefacenet(x, "relu6")


Family = tuple[Callable[..., Any], dict[str, Any], tuple[int, int, int]]
FAMILIES: dict[str, Family] = {
    "mobilefacenet_prelu": (mobilefacenet, {}, FACE),
    "mobilefacenet_relu6": (mobilefacenet, {"kind": "relu6", "unit_length": True}, FACE),
    "mobilefacenet_leaky": (mobilefacenet, {"kind": "leaky"}, FACE),
    "resnet": (resnet, {}, FACE),
    "resnet_se": (resnet, {"se": True}, FACE),
    "ghostfacenet": (ghostfacenet, {}, FACE),
    "facenet": (facenet, {}, (160, 160, 3)),
    "vggface": (vggface, {}, FACE),
    "deepid": (deepid, {}, (55, 47, 3)),
    "vit": (vit, {}, FACE),
    "convnext": (convnext, {}, FACE),
    "separable": (separable, {}, FACE),
    "hrnet_bilinear": (enlarged, {}, FACE),
    "raw_resize": (prepared, {}, (160, 160, 3)),
    "mobilenet_hswish": (mobilefacenet, {"kind": "hswish"}, FACE),
    "efficientnet_swish": (mobilefacenet, {"kind": "swish"}, FACE),
    "plain_gelu": (mobilefacenet, {"kind": "gelu"}, FACE),
    "plain_elu": (mobilefacenet, {"kind": "elu"}, FACE),
    "plain_selu": (mobilefacenet, {"kind": "selu"}, FACE),
    "plain_softplus": (mobilefacenet, {"kind": "softplus"}, FACE),
    "plain_mish": (mobilefacenet, {"kind": "mish"}, FACE),
    "plain_tanh": (mobilefacenet, {"kind": "tanh"}, FACE),
}


def images(shape: tuple[int, int, int], count: int) -> np.ndarray:
    """Smooth random images in -1 to 1, `[N, H, W, C]` float32."""
    height, width, channels = shape
    coarse = np.random.randn(count, 9, 9, channels)
    rows, columns = np.linspace(0, 8, height), np.linspace(0, 8, width)
    low, part = np.minimum(rows.astype(int), 7), rows - np.minimum(rows.astype(int), 7)
    x = coarse[:, low] * (1 - part)[None, :, None, None] + coarse[:, low + 1] * part[None, :, None, None]
    low, part = np.minimum(columns.astype(int), 7), columns - np.minimum(columns.astype(int), 7)
    x = x[:, :, low] * (1 - part)[None, None, :, None] + x[:, :, low + 1] * part[None, None, :, None]
    return np.clip(x * 0.6 + np.random.randn(count, *shape) * 0.05, -1, 1).astype(np.float32)


def make(name: str) -> Any:
    """A family's model, its BatchNorm with the statistics of images."""
    build, settings, shape = FAMILIES[name]
    image = keras.Input(shape)
    model = keras.Model(image, build(image, **settings))
    x = images(shape, 16)
    model(x * 127.5 + 127.5 if "raw" in name else x, training=True)
    return model
