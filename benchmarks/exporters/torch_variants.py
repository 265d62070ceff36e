"""Further convolutional families and forms of input, in torch, and all of them by name."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exporters import torch_convolutions as c
from exporters import torch_older as older
from exporters.torch_convolutions import FACE, SE, Embed, IBlock, Made, TwoOutputs, Unit


class MixBlock(nn.Module):
    """MixFaceNet: depthwise kernels of several sizes on groups of channels, shuffled."""

    def __init__(self, i: int, o: int, s: int):
        super().__init__()
        self.parts = [i - 2 * (i // 3), i // 3, i // 3]
        self.kernels = nn.ModuleList(
            [nn.Conv2d(p, p, k, s, k // 2, groups=p, bias=False) for p, k in zip(self.parts, (3, 5, 7), strict=True)]
        )
        self.norm, self.act, self.se, self.last = nn.BatchNorm2d(i), nn.PReLU(i), SE(i, act="silu"), Unit(i, o, act="")
        self.shortcut = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([conv(part) for conv, part in zip(self.kernels, torch.split(x, self.parts, 1), strict=True)], 1)
        y = self.last(self.se(self.act(self.norm(y))))
        return c.shuffle(x + y if self.shortcut else y)


class Cell(nn.Module):
    """PocketNet: a cell of a searched architecture, its operations as in DARTS."""

    def __init__(self, i: int, o: int, s: int):
        super().__init__()
        self.first = Unit(i, o, act="")
        self.pool = nn.Sequential(nn.AvgPool2d(3, s, 1, count_include_pad=False), nn.BatchNorm2d(o))
        self.most = nn.MaxPool2d(3, s, 1)
        self.separable = nn.Sequential(nn.PReLU(o), nn.Conv2d(o, o, 3, s, 1, groups=o, bias=False), Unit(o, o, act=""))
        self.dilated = nn.Sequential(nn.PReLU(o), nn.Conv2d(o, o, 5, s, 4, 2, o, bias=False), Unit(o, o, act=""))
        self.reduce = nn.ModuleList([nn.Conv2d(o, o // 2, 1, s, bias=False) for _ in range(2)])
        self.s = s

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        moved = F.pad(x[:, :, 1:, 1:], [0, 1, 0, 1]) if self.s > 1 else x
        halves = torch.cat([self.reduce[0](x), self.reduce[1](moved)], 1)
        return torch.cat([self.separable(x) + self.most(x), self.dilated(x) + self.pool(x), halves], 1)


class VargBlock(nn.Module):
    """VarGFaceNet: groups of a fixed number of channels, SE."""

    def __init__(self, i: int, s: int):
        super().__init__()
        self.path = nn.Sequential(
            Unit(i, 2 * i, 3, s, i // 8), Unit(2 * i, i, act=""), Unit(i, i, 3, 1, i // 8), Unit(i, i, act=""), SE(i)
        )
        self.shortcut = nn.Sequential(Unit(i, i, 3, s, i // 8, ""), Unit(i, i, act="")) if s > 1 else nn.Identity()
        self.act = nn.PReLU(i)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.path(x) + self.shortcut(x))


class CBAM(nn.Module):
    """Attention of channels and of places, by means and maxima of both."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc = nn.Sequential(nn.Conv2d(channels, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, channels, 1, bias=False))
        self.conv = nn.Conv2d(2, 1, 7, 1, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)) + self.fc(F.adaptive_max_pool2d(x, 1)))
        places = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return x * torch.sigmoid(self.conv(places))


class ECA(nn.Module):
    """Attention of channels by a convolution over the channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.conv(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        return x * torch.sigmoid(gates).expand_as(x)


class CoordinateAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = Unit(channels, 8, act="hswish")
        self.rows, self.columns = nn.Conv2d(8, channels, 1), nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2], x.shape[3]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True).permute(0, 1, 3, 2)
        rows, columns = torch.split(self.first(torch.cat([rows, columns], 2)), [h, w], 2)
        return x * torch.sigmoid(self.rows(rows)) * torch.sigmoid(self.columns(columns.permute(0, 1, 3, 2)))


class Res2Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.part = channels // 4
        self.first, self.last = Unit(channels, channels, act="relu"), Unit(channels, channels, act="")
        self.convs = nn.ModuleList([Unit(self.part, self.part, 3, act="relu") for _ in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(self.first(x), self.part, 1)
        y, results = parts[0], [parts[0]]
        for conv, part in zip(self.convs, parts[1:], strict=True):
            y = conv(part if len(results) == 1 else part + y)
            results.append(y)
        return F.relu(self.last(torch.cat(results, 1)) + x)


class IBN(nn.Module):
    """Instance normalisation of half of the channels, BatchNorm of the rest."""

    def __init__(self, channels: int):
        super().__init__()
        self.part = channels // 2
        self.one, self.two = nn.InstanceNorm2d(self.part, affine=True), nn.BatchNorm2d(channels - self.part)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(x, [self.part, x.shape[1] - self.part], 1)
        return torch.cat([self.one(first.contiguous()), self.two(second.contiguous())], 1)


class HighResolution(nn.Module):
    """HRNet: a coarse branch that is enlarged and added to the fine one."""

    def __init__(self, mode: str):
        super().__init__()
        self.stem, self.down = (
            nn.Sequential(Unit(3, 16, 3, 2, act="relu"), Unit(16, 16, 3, 2, act="relu")),
            Unit(16, 32, 3, 2, act="relu"),
        )
        self.coarse, self.fine, self.up = Unit(32, 32, 3, act="relu"), Unit(16, 16, 3, act="relu"), Unit(32, 16, act="")
        self.mode, self.last, self.embed = (
            mode,
            nn.Sequential(Unit(16, 32, 3, 2, act="relu"), Unit(32, 48, 3, 2, act="relu")),
            Embed(48, 7, "gap"),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        corners = None if self.mode == "nearest" else False
        up = F.interpolate(self.up(self.coarse(self.down(x))), scale_factor=2, mode=self.mode, align_corners=corners)
        return self.embed(self.last(F.relu(self.fine(x) + up)))


class Wrapped(nn.Module):
    """A MobileFaceNet whose file prepares its own images."""

    def __init__(self, form: str):
        super().__init__()
        self.form, self.net = form, c.mobilefacenet("relu6")
        self.register_buffer("mean", torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if "nhwc" in self.form:
            x = x.permute(0, 3, 1, 2)
        if "uint8" in self.form:
            x = x.float()
        if "resize" in self.form:
            x = F.interpolate(x, size=(112, 112), mode="bilinear", align_corners=False)
        if "swap" in self.form:
            x = x[:, [2, 1, 0]]
        if "flipped" in self.form:
            return F.normalize(self.net(x) + self.net(torch.flip(x, [3])))
        if "raw" in self.form:
            x = (x - self.mean) / 127.5
        return self.net(x)


class OpenFace(nn.Module):
    """The first FaceNets: local response normalisation, L2 pooling, inception."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.lrn = (
            nn.Sequential(Unit(3, 16, 7, 2, act="relu"), nn.MaxPool2d(3, 2, 1)),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
        )
        self.one, self.three, self.after = (
            Unit(16, 16, act="relu"),
            nn.Sequential(Unit(16, 8, act="relu"), Unit(8, 16, 3, act="relu")),
            Unit(16, 16, act="relu"),
        )
        self.embed = Embed(48, 1, "gap", unit="f")

    def forward(self, x: Tensor) -> Tensor:
        x = self.lrn(self.stem(x))
        pooled = torch.sqrt(F.avg_pool2d(x * x, 3, 1, 1) * 9)
        return self.embed(torch.cat([self.one(x), self.three(x), self.after(pooled)], 1))


class Dense(nn.Module):
    def __init__(self, i: int, more: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.BatchNorm2d(i + n * more), nn.ReLU(), nn.Conv2d(i + n * more, more, 3, 1, 1, bias=False)
                )
                for n in range(layers)
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def with_attention(kind: type[nn.Module]) -> nn.Module:
    return nn.Sequential(
        Unit(3, 16, 3, 2), IBlock(16, 24, 2), kind(24), IBlock(24, 32, 2), kind(32), IBlock(32, 48, 2), Embed(48, 7)
    )


def plain(act: str) -> nn.Module:
    return nn.Sequential(
        Unit(3, 16, 3, 2, act=act),
        Unit(16, 24, 3, 2, act=act),
        Unit(24, 32, 3, 2, act=act),
        Unit(32, 48, 3, 2, act=act),
        Embed(48, 7, "gap"),
    )


def vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in [(3, 8), (8, 16), (16, 24), (24, 32)]:
        layers += [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2, 2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 49, 96), nn.ReLU(), nn.Dropout(), nn.Linear(96, 64))


def group_normed() -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in [(3, 16), (16, 24), (24, 32)]:
        layers += [nn.Conv2d(i, o, 3, 2, 1), nn.GroupNorm(4, o), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 32, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 64))


def families() -> dict[str, Made]:
    """Every convolutional family, by name."""
    nets: dict[str, nn.Module] = {
        "mobilefacenet_prelu": c.mobilefacenet(),
        "mobilefacenet_relu6": c.mobilefacenet("relu6", "f"),
        "mobilefacenet_leaky": c.mobilefacenet("leaky", "pow"),
        "mobilefacenet_4d": c.mobilefacenet(kind="4d"),
        "iresnet": c.iresnet(),
        "iresnet_se": c.iresnet(se=True, pool=True),
        "resnet_relu": c.iresnet("relu", kind="gap"),
        "adaface_two_outputs": TwoOutputs(),
        "ghostfacenet_v1": c.ghostfacenet(),
        "ghostfacenet_v2": c.ghostfacenet(True),
        "mobilenetv1": c.mobilenetv1(),
        "mobilenetv2": c.mobilefacenet("relu6", kind="mean"),
        "mobilenetv3": c.mobilenetv3(),
        "shufflenetv2": c.shufflenetv2(),
        "efficientnet": c.efficientnet(),
        "efficientnet_lite": c.efficientnet("relu6", False),
        "mixfacenet": nn.Sequential(
            Unit(3, 16, 3, 2),
            MixBlock(16, 24, 2),
            MixBlock(24, 24, 1),
            MixBlock(24, 32, 2),
            MixBlock(32, 48, 2),
            Embed(48, 7),
        ),
        "pocketnet": nn.Sequential(
            Unit(3, 8, 3, 2), Cell(8, 8, 2), Cell(24, 8, 1), Cell(24, 12, 2), Cell(36, 16, 2), Embed(48, 7)
        ),
        "vargfacenet": nn.Sequential(
            Unit(3, 16, 3),
            VargBlock(16, 2),
            VargBlock(16, 2),
            VargBlock(16, 2),
            VargBlock(16, 2),
            Unit(16, 48),
            Embed(48, 7),
        ),
        "cbam": with_attention(CBAM),
        "eca": with_attention(ECA),
        "coordinate_attention": with_attention(CoordinateAttention),
        "res2net": with_attention(Res2Block),
        "ibn": with_attention(IBN),
        "hrnet_nearest": HighResolution("nearest"),
        "hrnet_bilinear": HighResolution("bilinear"),
        "densenet": nn.Sequential(
            Unit(3, 16, 3, 2, act="relu"),
            Dense(16, 8, 3),
            nn.AvgPool2d(2),
            Dense(40, 8, 3),
            nn.AvgPool2d(4),
            Embed(64, 7, "gap"),
        ),
        "vggface": vgg(),
        "openface_lrn": OpenFace(),
        "groupnorm": group_normed(),
        "flipped_sum": Wrapped("flipped"),
        "raw_swap": Wrapped("raw swap"),
        "seesaw_swish": c.efficientnet("silu", False),
    }
    nets |= {f"plain_{act}": plain(act) for act in ("mish", "elu", "selu", "gelu", "softplus", "celu", "tanh")}
    made = {name: (net, FACE) for name, net in nets.items()}
    made |= {
        "lightcnn_grey": (older.LightCNN(), (1, 128, 128)),
        "facenet": (older.facenet(), (3, 160, 160)),
        "dlib_pad": (older.dlib(), (3, 150, 150)),
        "dlib_concat": (older.dlib("cat"), (3, 150, 150)),
        "sphereface": (older.sphereface(), (3, 112, 96)),
        "raw_resize": (Wrapped("raw resize"), (3, 160, 160)),
        "nhwc_raw": (Wrapped("nhwc raw"), (112, 112, 3)),
        "nhwc_uint8": (Wrapped("nhwc uint8 raw"), (112, 112, 3)),
        "uint8_swap": (Wrapped("uint8 raw swap"), FACE),
    }
    return made
