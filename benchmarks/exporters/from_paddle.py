"""Files of paddle2onnx.

    python benchmarks/exporters/from_paddle.py FOLDER [--only NAME]

Runs in an environment of its own (`exporters/requirements-paddle.txt`).
"""

import argparse
import zlib
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F


def act(name: str, channels: int) -> nn.Layer:
    if name == "prelu":
        return nn.PReLU(channels, weight_attr=nn.initializer.Uniform(-0.05, 0.5))
    kinds = {
        "": nn.Identity,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "hswish": nn.Hardswish,
        "swish": nn.Swish,
        "mish": nn.Mish,
        "elu": nn.ELU,
        "selu": nn.SELU,
        "gelu": nn.GELU,
        "leaky": nn.LeakyReLU,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
    }
    return kinds[name]()


def near_one(kind: type, channels: int) -> nn.Layer:
    weight, bias = nn.initializer.Uniform(0.7, 1.3), nn.initializer.Normal(0, 0.2)
    return kind(channels, momentum=0.0, weight_attr=weight, bias_attr=bias)


class Unit(nn.Sequential):
    def __init__(self, i: int, o: int, k: int = 1, s: int = 1, g: int = 1, kind: str = "prelu"):
        conv = nn.Conv2D(i, o, k, s, k // 2, groups=g, bias_attr=False, weight_attr=nn.initializer.KaimingNormal())
        super().__init__(conv, near_one(nn.BatchNorm2D, o), act(kind, o))


class SE(nn.Layer):
    def __init__(self, c: int):
        super().__init__()
        self.pool, self.one, self.two = nn.AdaptiveAvgPool2D(1), nn.Conv2D(c, c // 4, 1), nn.Conv2D(c // 4, c, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.two(F.relu(self.one(self.pool(x)))))


class Inverted(nn.Layer):
    def __init__(self, i: int, o: int, s: int = 1, e: int = 2, kind: str = "prelu", se: bool = False):
        super().__init__()
        layers = [
            Unit(i, i * e, kind=kind),
            Unit(i * e, i * e, 3, s, i * e, kind),
            *([SE(i * e)] if se else []),
            Unit(i * e, o, kind=""),
        ]
        self.path, self.shortcut = nn.Sequential(*layers), s == 1 and i == o

    def forward(self, x):
        return x + self.path(x) if self.shortcut else self.path(x)


class End(nn.Layer):
    def __init__(self, c: int, kind: str = "gdc", unit: bool = False):
        super().__init__()
        self.kind, self.unit = kind, unit
        self.depthwise, self.project = (
            nn.Conv2D(c, c, 7, groups=c, bias_attr=False),
            nn.Conv2D(c, 64, 1, bias_attr=False),
        )
        self.dropout, self.fc, self.last = (
            nn.Dropout(0.4),
            nn.Linear(c * 49 if kind == "fc" else c, 64),
            near_one(nn.BatchNorm1D, 64),
        )

    def forward(self, x):
        if self.kind == "gdc":
            x = self.project(self.depthwise(x)).flatten(1)
        else:
            x = self.fc(
                self.dropout(x).flatten(1) if self.kind == "fc" else F.adaptive_avg_pool2d(x, 1).squeeze([2, 3])
            )
        x = self.last(x)
        return F.normalize(x) if self.unit else x


class Residual(nn.Layer):
    def __init__(self, i: int, o: int, s: int, kind: str, se: bool):
        super().__init__()
        self.path = nn.Sequential(
            near_one(nn.BatchNorm2D, i), Unit(i, o, 3, 1, 1, kind), Unit(o, o, 3, s, kind=""), *([SE(o)] if se else [])
        )
        self.shortcut = nn.Identity() if s == 1 and i == o else Unit(i, o, 1, s, kind="")

    def forward(self, x):
        return paddle.add(self.path(x), self.shortcut(x))


class Shuffle(nn.Layer):
    def __init__(self, i: int, o: int, s: int):
        super().__init__()
        half = o // 2
        self.s, start = s, i if s > 1 else half
        self.left = nn.Sequential(Unit(i, i, 3, 2, i, ""), Unit(i, half)) if s > 1 else nn.Identity()
        self.right = nn.Sequential(Unit(start, half), Unit(half, half, 3, s, half, ""), Unit(half, half))

    def forward(self, x):
        left, right = (x, x) if self.s > 1 else paddle.split(x, 2, 1)
        x = paddle.concat([self.left(left), self.right(right)], 1)
        _n, c, h, w = x.shape
        return x.reshape([-1, 2, c // 2, h, w]).transpose([0, 2, 1, 3, 4]).reshape([-1, c, h, w])


class ViT(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.end = nn.Conv2D(3, 32, 16, 16), nn.Linear(32, 64)
        self.position = self.create_parameter([1, 49, 32], default_initializer=nn.initializer.Normal(0, 0.5))
        self.norms = nn.LayerList([nn.LayerNorm(32) for _ in range(5)])
        self.qkv, self.out = (
            nn.LayerList([nn.Linear(32, 96) for _ in range(2)]),
            nn.LayerList([nn.Linear(32, 32) for _ in range(2)]),
        )
        self.mlp = nn.LayerList([nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2)])

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose([0, 2, 1]) + self.position
        for index in range(2):
            qkv = self.qkv[index](self.norms[2 * index](x)).reshape([-1, 49, 3, 4, 8]).transpose([2, 0, 3, 1, 4])
            weights = F.softmax(paddle.matmul(qkv[0], qkv[1], transpose_y=True) * 8**-0.5, -1)
            x = x + self.out[index](paddle.matmul(weights, qkv[2]).transpose([0, 2, 1, 3]).reshape([-1, 49, 32]))
            x = x + self.mlp[index](self.norms[2 * index + 1](x))
        return self.end(self.norms[4](x).mean(1))


class Prepared(nn.Layer):
    """Raw pixels in, resized and normalised inside."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mobilefacenet("relu6")

    def forward(self, x):
        return self.net((F.interpolate(x, [112, 112], mode="bilinear") - 127.5) / 127.5)


class LightCNN(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.LayerList(
            [nn.Conv2D(i, 2 * o, 3, padding=1) for i, o in [(1, 12), (12, 24), (24, 32), (32, 32)]]
        )
        self.fc = nn.Linear(32 * 64, 64)

    def forward(self, x):
        for conv in self.convs:
            x = F.max_pool2d(paddle.maximum(*paddle.chunk(conv(x), 2, 1)), 2)
        return self.fc(x.flatten(1))


def mobilefacenet(kind: str = "prelu", end: str = "gdc", unit: bool = False, se: bool = False) -> nn.Layer:
    blocks = [
        Unit(3, 16, 3, 2, 1, kind),
        Unit(16, 16, 3, 1, 16, kind),
        Inverted(16, 16, 2, 2, kind, se),
        Inverted(16, 16, 1, 2, kind, se),
    ]
    blocks += [
        Inverted(16, 32, 2, 4, kind, se),
        Inverted(32, 32, 1, 2, kind),
        Inverted(32, 32, 2, 4, kind, se),
        Unit(32, 96, kind=kind),
    ]
    return nn.Sequential(*blocks, End(96, end, unit))


def iresnet(kind: str = "prelu", se: bool = False, end: str = "fc") -> nn.Layer:
    stages = [(16, 16, 2), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 48, 2)]
    return nn.Sequential(Unit(3, 16, 3, kind=kind), *[Residual(i, o, s, kind, se) for i, o, s in stages], End(48, end))


def families() -> dict[str, tuple[nn.Layer, tuple[int, int, int]]]:
    face = (3, 112, 112)
    nets = {
        "mobilefacenet_prelu": mobilefacenet(),
        "mobilefacenet_relu6": mobilefacenet("relu6", unit=True),
        "iresnet": iresnet(),
        "iresnet_se": iresnet(se=True),
        "resnet_relu": iresnet("relu", end="gap"),
        "mobilenetv3": mobilefacenet("hswish", "gap", se=True),
        "efficientnet_swish": mobilefacenet("swish", "gap", se=True),
        "vit": ViT(),
        "shufflenetv2": nn.Sequential(
            Unit(3, 16, 3, 2),
            Shuffle(16, 32, 2),
            Shuffle(32, 32, 1),
            Shuffle(32, 48, 2),
            Shuffle(48, 64, 2),
            Unit(64, 96),
            End(96),
        ),
    }
    nets |= {f"plain_{kind}": mobilefacenet(kind) for kind in ("leaky", "elu", "selu", "gelu", "mish", "tanh")}
    return {name: (net, face) for name, net in nets.items()} | {
        "lightcnn_grey": (LightCNN(), (1, 128, 128)),
        "raw_resize": (Prepared(), (3, 160, 160)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    paddle.seed(0)
    for name, (net, shape) in families().items():
        if options.only not in name:
            continue
        np.random.seed(zlib.crc32(name.encode()))
        coarse = paddle.to_tensor(np.random.randn(16, shape[0], 9, 9).astype(np.float32))
        x = F.interpolate(coarse, shape[1:], mode="bicubic").clip(-1, 1)
        net.train()
        net(x * 127.5 + 127.5 if "raw" in name else x)
        net.eval()
        for exporter, opset, batch in [
            ("paddle", 13, None),
            ("paddle fixed batch", 13, 1),
            ("paddle opset 9", 9, None),
            ("paddle opset 17", 17, None),
        ]:
            path = options.folder / exporter.replace(" ", "_") / f"{name}.onnx"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            failure = ""
            try:
                spec = [paddle.static.InputSpec([batch, *shape], "float32", "image")]
                paddle.onnx.export(net, str(path.with_suffix("")), input_spec=spec, opset_version=opset)
            except BaseException as error:
                path.unlink(missing_ok=True)
                failure = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
            print(
                f"{exporter:26s} {name:24s} {failure or 'ok' if path.exists() else failure or 'nothing written'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
