"""Functions and modules of torch that networks of all kinds call: the graph gives what torch gives."""

from collections.abc import Callable

import onnx.reference
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface.errors import BitfaceError
from bitface.graph import to_onnx
from bitface.graph.torch_reader import from_module
from support.onnx_models import run_onnx
from support.operator_modules import Called

ORDER = torch.tensor([2, 0, 1])
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "neg and abs": lambda x: -x.abs() + abs(x - 1) - torch.neg(x),
    "powers": lambda x: x**2 + x.pow(3) + torch.square(x) + torch.pow(x.sigmoid(), 0.3),
    "roots": lambda x: x.sigmoid().sqrt() + torch.rsqrt(x.sigmoid()) + x.sigmoid().reciprocal(),
    "exp, log and erf": lambda x: torch.log(1 + x.exp()) + torch.erf(x),
    "curves": lambda x: F.softplus(x, 2) + F.elu(x, 0.7) + F.selu(x) + F.celu(x) + F.softsign(x),
    "silu and mish": lambda x: F.silu(x) + F.mish(x),
    "sums": lambda x: x.sum(1, keepdim=True) + torch.sum(x, (2, 3), keepdim=True),
    "extremes of two": lambda x: torch.max(x, x.tanh()) + torch.minimum(x, x * x) + torch.maximum(x, x.sigmoid()),
    "extremes of axes": lambda x: x.amax((2, 3), keepdim=True) + torch.amin(x, 1, keepdim=True) + x.max(2, True)[0],
    "halves": lambda x: torch.max(x[:, :, :4], x[:, :, 4:]),
    "maximum over views": lambda x: x.view(x.size(0), 3, 2, 4, 6).max(dim=2)[0],
    "norms": lambda x: x.norm(dim=1, keepdim=True) + x.norm(1, 1, True) + torch.linalg.vector_norm(x, 2, 3, True),
    "comparisons": lambda x: torch.where(x > 0.1, x, 0.2 * x) + torch.where(x.le(0), x, x.exp()) * (x < 1),
    "interpolate nearest": lambda x: F.interpolate(x, scale_factor=2),
    "interpolate linear": lambda x: F.interpolate(x, size=(5, 11), mode="bilinear"),
    "interpolate factors": lambda x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear", align_corners=False),
    "interpolate corners": lambda x: F.interpolate(x, size=13, mode="bilinear", align_corners=True),
    "interpolate exact": lambda x: F.interpolate(x, size=(5, 14), mode="nearest-exact"),
    "interpolate cubic": lambda x: F.interpolate(x, size=(5, 11), mode="bicubic"),
    "interpolate cubic corners": lambda x: F.interpolate(x, scale_factor=1.6, mode="bicubic", align_corners=True),
    "interpolate to one row": lambda x: F.interpolate(x, (1, 5), mode="bilinear"),
    "interpolate to one pixel": lambda x: F.interpolate(x, (1, 1), mode="bilinear"),
    "interpolate to a copy": lambda x: F.interpolate(x, scale_factor=1.1),
    "interpolate linear to a copy": lambda x: F.interpolate(x, scale_factor=1.1, mode="bilinear"),
    "interpolate to twice the size": lambda x: F.interpolate(x, scale_factor=2.1),
    "interpolate to half of it": lambda x: F.interpolate(F.pad(x, (0, 8, 0, 6)), (8, 2)),
    "interpolate again": lambda x: F.interpolate(x, scale_factor=1.6, mode="bilinear", recompute_scale_factor=True),
    "rolled": lambda x: x.roll((3, -1), (2, 3)) + torch.roll(x, -4, 1) + torch.roll(x, shifts=2, dims=-1),
    "pixels": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2), 2),
    "padded channels": lambda x: F.pad(x, (0, 1, 0, 0, 1, 2)) + F.pad(x, (1, 0, 0, 0, 2, 1), value=0.5),
    "reflected": lambda x: F.pad(x, (1, 2, 3, 0), mode="reflect") + F.pad(x, (2, 1, 1, 2), mode="replicate"),
    "zeros beside": lambda x: torch.cat((x, torch.zeros(x.size(0), 2, x.size(2), x.size(3), device=x.device)), 1),
    "zeros like it": lambda x: torch.cat((torch.zeros_like(x), x, x.new_zeros(x.shape[0], 1, 8, 6)), dim=1),
    "swapped colours": lambda x: x[:, [2, 1, 0]] + x.flip(1) + torch.flip(x, (1, 2)),
    "picked": lambda x: x[:, ORDER] + x.index_select(1, ORDER),
    "one list beside a number": lambda x: x[:, 1, :, [4, 0, 2]] + x[:, -1, [5, 3], 1:4].sum(1, True),
    "softmax": lambda x: F.softmax(x, dim=1) + F.softmax(x, -1, dtype=torch.float32) + torch.softmax(x, 2),
    "softmax with the batch behind": lambda x: F.softmax(x.flatten(2).permute(2, 0, 1), dim=-1).permute(1, 0, 2),
    "group norm": lambda x: F.group_norm(x, 3, torch.rand(3), None),
    "local response": lambda x: F.local_response_norm(x, 3, 0.1),
    "power pooling": lambda x: F.lp_pool2d(x, 2, 2),
}  # fmt: skip


class Token(nn.Module):
    """Numbers of its own beside those of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.arange(48.0).view(1, 1, 8, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.token.expand(x.size(0), -1, -1, -1)), 1)


MODULES: list[nn.Module] = [
    Token(),
    *(nn.Softplus(), nn.ELU(0.3), nn.SELU(), nn.CELU(0.8), nn.SiLU(), nn.Mish(), nn.Softsign(), nn.Threshold(0.3, 0)),
    *(nn.GroupNorm(3, 3), nn.GroupNorm(1, 3, affine=False), nn.InstanceNorm2d(3), nn.InstanceNorm2d(3, affine=True)),
    nn.InstanceNorm2d(3, track_running_stats=True),
    *(nn.LocalResponseNorm(3, 0.2), nn.LPPool2d(2, 3, 2), nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2)),
    *(
        nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 5, 2, 3, bias=bias), nn.Conv1d(4, 4, 3, padding="same", groups=2))
        for bias in (True, False)
    ),
    nn.Upsample(scale_factor=1.6, mode="bilinear", recompute_scale_factor=True),
    *(nn.ReflectionPad2d(2), nn.ReplicationPad2d((1, 0, 2, 3)), nn.ZeroPad2d(1)),
]


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *MODULES], ids=[*FUNCTIONS, *map(str, MODULES)])
def test_the_graph_gives_what_torch_gives(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    network = Called(function).eval()
    torch.manual_seed(1)
    graph = from_module(network, (8, 6))
    images = torch.randn(3, 3, 8, 6)
    torch.manual_seed(1)
    with torch.no_grad():
        torch.testing.assert_close(graph(images), network(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.interpolate(x, scale_factor=2, mode="area"),
        lambda x: torch.roll(x, 1),
        lambda x: torch.roll(x, 1, 0),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")),
        lambda x: F.interpolate(x, size=4, mode="bilinear", antialias=True),
        lambda x: x ** x,
        lambda x: x.repeat(2, 1, 1, 1),
        lambda x: F.local_response_norm(x, 2),
        lambda x: F.lp_pool2d(x, 3, 2),
        lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 0)),
    ],
)  # fmt: skip
def test_what_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(BitfaceError):
        from_module(Called(function), (8, 6))


def test_constants_of_the_whole_batch_are_written_so_that_the_batch_stays_free() -> None:
    graph = from_module(Token(), (8, 6))
    images = torch.randn(3, 3, 8, 6)
    again = onnx.reference.ReferenceEvaluator(to_onnx(graph)).run(None, {"image": images.numpy()})[0]
    torch.testing.assert_close(graph(images), torch.from_numpy(again))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_a_file_takes_the_pixels_that_torch_takes(mode: str) -> None:
    """Also where its scales, in float32, lie on the other side of a border between two pixels."""

    def resized(x: Tensor) -> Tensor:
        return F.interpolate(F.pad(x, (0, 8, 0, 6)), size=(62, 31), mode=mode)

    images = torch.randn(2, 3, 8, 6)
    written = run_onnx(to_onnx(from_module(Called(resized), (8, 6))), images.numpy())
    torch.testing.assert_close(torch.from_numpy(written), resized(images))
