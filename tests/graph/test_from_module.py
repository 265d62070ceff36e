"""An `nn.Module` becomes a graph that computes the same, whatever way its forward is written."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitface.errors import BitfaceError
from bitface.graph.torch_reader import from_module as read_module

SIZE = (8, 6)
TRIANGLE = torch.triu_indices(8, 8)


class Written(nn.Module):
    """A network whose forward is the function at hand; it has some layers and tensors to use."""

    def __init__(self, forward: Callable[["Written", Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.twice = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.norm, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.same, self.dropout, self.flat = nn.Identity(), nn.Dropout(inplace=True), nn.Flatten(2)
        self.fc = nn.Linear(4, 4)
        self.slope = nn.Parameter(torch.tensor([0.1, -0.2, 0.3, 0.4]))
        self.register_buffer("scale", torch.tensor([0.5, 2.0, -1.0, 1.5]))
        self.written = forward

    def forward(self, x: Tensor) -> Any:
        return self.written(self, self.conv(x))


def network(forward: Callable[[Written, Tensor], Any], scramble: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(5)
    return scramble(Written(forward))


def assert_same(module: nn.Module, size: tuple[int, int] = SIZE) -> None:
    """The graph gives what the module gives, for one image and for three."""
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    graph = read_module(module, size)
    with torch.no_grad():
        for batch in (1, 3):
            torch.testing.assert_close(graph(images[:batch]), module(images[:batch]), rtol=1e-5, atol=1e-6)


def in_place_before_another_reader(m: Written, x: Tensor) -> Tensor:
    y = m.relu(x)
    return x * 2 + y


def chained_in_place(m: Written, x: Tensor) -> Tensor:
    x.sub_(0.1).div_(2.0)
    return m.twice(x)


def in_place_behind_an_identity(m: Written, x: Tensor) -> Tensor:
    short = m.same(x)
    return m.relu(x) * 2 + short


def in_place_of_an_identity(m: Written, x: Tensor) -> Tensor:
    same = F.dropout(m.dropout(x).detach(), 0.5, False)
    m.relu(same)
    return x - 1


def assigned_in_place(m: Written, x: Tensor) -> Tensor:
    before, copy = x, x.clone()
    x += 1
    x -= 0.2
    x *= 3
    x /= 2
    x **= 2
    return before + copy


def parts_in_place(m: Written, x: Tensor) -> Tensor:
    first, second = x.chunk(2, 1)
    first *= 2
    return torch.cat((second, m.relu(first)), 1)


def view_in_place(m: Written, x: Tensor) -> Tensor:
    flat = x.flatten(1)
    m.relu(flat)
    F.dropout(m.dropout(flat), 0.5, False)
    return flat.view(x.size(0), -1, 6)


def in_place_with_the_batch_behind(m: Written, x: Tensor) -> Tensor:
    rows = x.flatten(2).permute(2, 0, 1)
    same = m.same(rows)
    rows += 1
    return same.permute(1, 0, 2)


def numbers_assigned(m: Written, x: Tensor) -> Tensor:
    side = other = x.size(2)
    images = x.size(0)
    images *= 2
    side *= 6
    other += 1
    return x.view(images // 2, 4, side) * other


def squeeze_excite(m: Written, x: Tensor) -> Tensor:
    batch, channels, _, _ = x.size()
    gate = F.adaptive_avg_pool2d(x, 1).view(batch, channels)
    return x * torch.sigmoid(m.fc(gate)).view(batch, channels, 1, 1).expand_as(x)


def shuffle(m: Written, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def l2_norm(m: Written, x: Tensor) -> Tensor:
    x = x.mean((2, 3))
    return torch.div(x, torch.norm(x, 2, 1, True))


FORMS: dict[str, Callable[[Written, Tensor], Any]] = {
    "relu": lambda m, x: F.relu(x),
    "relu method": lambda m, x: x.relu(),
    "torch relu": lambda m, x: torch.relu(x),
    "relu in place": lambda m, x: F.relu(x, inplace=True) + x,
    "relu in place by position": lambda m, x: F.relu(x, True) + x,
    "relu_": lambda m, x: x.relu_() + x,
    "module in place": in_place_before_another_reader,
    "add_": lambda m, x: x.add_(1.0) * x,
    "chained in place": chained_in_place,
    "in place behind an identity": in_place_behind_an_identity,
    "in place of an identity": in_place_of_an_identity,
    "assigned in place": assigned_in_place,
    "parts in place": parts_in_place,
    "view in place": view_in_place,
    "in place with the batch behind": in_place_with_the_batch_behind,
    "numbers assigned": numbers_assigned,
    "relu6": lambda m, x: F.relu6(x * 9),
    "leaky relu": lambda m, x: F.leaky_relu(x, 0.2),
    "prelu": lambda m, x: F.prelu(x, m.slope),
    "sigmoid": lambda m, x: torch.sigmoid(x) + F.sigmoid(x) + x.sigmoid(),
    "tanh": lambda m, x: torch.tanh(x),
    "hard activations": lambda m, x: F.hardtanh(x, -0.3, 0.4) + F.hardsigmoid(x) + F.hardswish(x),
    "hard swish by hand": lambda m, x: x * F.relu6(x + 3) / 6,
    "clamp": lambda m, x: x.clamp(min=0) + torch.clamp(x, -0.5, 0.5) + x.clamp(max=0.1),
    "view": lambda m, x: x.view(x.size(0), -1),
    "view by shape": lambda m, x: x.view(x.shape[0], x.shape[1], x.shape[2] * x.shape[3]),
    "reshape": lambda m, x: torch.reshape(x, (-1, 192)),
    "flatten": lambda m, x: torch.flatten(x, 1),
    "flatten method": lambda m, x: x.flatten(1),
    "flatten some": lambda m, x: x.flatten(2, 3).flatten(start_dim=-2),
    "chunk": lambda m, x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "chunk unpacked": lambda m, x: operator.sub(*(x.chunk(2, dim=1)[i] for i in (0, 1))),
    "split": lambda m, x: torch.cat([x.split([1, 3], 1)[1], torch.split(x, 2, dim=1)[0]], dim=1),
    "cat of all": lambda m, x: torch.cat((x, x * 2), -1),
    "mean": lambda m, x: x.mean(3).mean(-1) + torch.mean(x, dim=[2, 3]),
    "mean kept": lambda m, x: x * x.mean((2, 3), keepdim=True),
    "dim": lambda m, x: x.mean(x.dim() - 1),
    "adaptive pools": lambda m, x: F.adaptive_avg_pool2d(x, (4, None)) + F.adaptive_max_pool2d(x, (4, 6)),
    "pools": lambda m, x: F.max_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, kernel_size=3, stride=2, padding=1),
    "pool over the map": lambda m, x: F.avg_pool2d(x, x.size()[2:]),
    "pool rounded up": lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "index": lambda m, x: x[:, :, 0, 0],
    "index from the end": lambda m, x: x[:, -1, 1:-1, ::2],
    "ellipsis": lambda m, x: x[..., 0] - x[..., -1],
    "squeeze": lambda m, x: F.adaptive_avg_pool2d(x, 1).squeeze(3).squeeze(-1),
    "unsqueeze": lambda m, x: m.fc(x.mean((2, 3)).unsqueeze(1)).unsqueeze(-1),
    "permute": lambda m, x: m.fc(x.permute(0, 2, 3, 1)).permute((0, -1, 1, 2)),
    "transpose": lambda m, x: x.transpose(2, 3) @ torch.transpose(x, -1, -2).transpose(2, 3),
    "matmul": lambda m, x: torch.matmul(x, x.transpose(2, 3)),
    "pad": lambda m, x: F.pad(x, (1, 0, 2, 1), value=0.5) * 2,
    "normalize": lambda m, x: F.normalize(x.flatten(1)) + F.normalize(x.flatten(1), p=1, dim=-1),
    "norm": l2_norm,
    "dropout": lambda m, x: F.dropout(x, 0.5, training=m.training),
    "identities": lambda m, x: x.clone().detach().contiguous().float(),
    "constants": lambda m, x: 1 - 2 * x / 3 + m.scale.view(1, -1, 1, 1) * torch.sqrt(m.slope.exp()).reshape(4, 1, 1),
    "expand": lambda m, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 2, 5) * 1.0,
    "expand to a shape": lambda m, x: x.mean((2, 3), keepdim=True).expand(x.shape),
    "gate": squeeze_excite,
    "shuffle": shuffle,
    "shared layer": lambda m, x: m.norm2(m.twice(m.norm(m.twice(x)))),
    "shared activation": lambda m, x: m.relu(m.twice(m.relu(x))),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, scramble: Callable[[nn.Module], nn.Module]) -> None:
    assert_same(network(FORMS[form], scramble))


MODULES = {
    "conv strides": nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=2, bias=False),
    "conv groups": nn.Conv2d(3, 6, 3, groups=3),
    "conv same": nn.Conv2d(3, 4, (3, 5), padding="same"),
    "conv valid": nn.Conv2d(3, 4, 3, padding="valid"),
    "norm without weights": nn.BatchNorm2d(3, affine=False),
    "max pool": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "average pool": nn.AvgPool2d((2, 3), stride=1, padding=1, count_include_pad=False),
    "adaptive pool": nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive max pool": nn.AdaptiveMaxPool2d(1),
    "pad": nn.ZeroPad2d((0, 1, 2, 3)),
    "prelu": nn.PReLU(3),
    "relu6": nn.ReLU6(inplace=True),
    "hard": nn.Sequential(nn.Hardtanh(-0.2, 0.7), nn.Hardsigmoid(), nn.Hardswish(), nn.LeakyReLU(0.3)),
    "flatten": nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 5), nn.Sigmoid(), nn.PReLU()),
    "flatten later": nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(3), nn.Linear(48, 5, bias=False), nn.Tanh()),
    "dropouts": nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.Identity(), nn.ReLU()),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str, scramble: Callable[[nn.Module], nn.Module]) -> None:
    assert_same(nn.Sequential(scramble(MODULES[name])))


def branches(m: Written, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def with_hook() -> nn.Module:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    module[0].register_forward_hook(lambda *_: None)
    return module


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (branches, r"Written can't be traced .*without branches on tensors"),
        (lambda m, x: [][0], r"can't be traced \(list index"),
        (lambda m, x: torch.fft.fft(x), "calls 'fft_fft' .*doesn't know; report it"),
        (lambda m, x: x.cumsum(1), "calls 'cumsum' .*doesn't know; report it"),
        (lambda m, x: torch.add(x, x, alpha=2), "calls 'add' .*in a way that bitface doesn't know"),
        (lambda m, x: F.normalize(x, p=3), "L3 norm"),
        (lambda m, x: F.normalize(x, dim=0), "reduces over the batch"),
        (lambda m, x: x.mean(), "reduces over the batch"),
        (lambda m, x: x.mean(0), "reduces over the batch"),
        (lambda m, x: x.flatten(), "mixes the batch"),
        (lambda m, x: x.view(-1, 6), "mixes the batch"),
        (lambda m, x: x.permute(1, 0, 2, 3), "mixes the batch"),
        (lambda m, x: torch.cat([x, x], 0), "mixes the images"),
        (lambda m, x: x[0], "slices the batch"),
        (lambda m, x: x[:, None], "indexes a tensor by None"),
        (lambda m, x: x[:, True], "indexes a tensor by True"),
        (lambda m, x: x[:, [0, 1], [0, 1]], "by several lists at once"),
        (lambda m, x: x[:, [0, 1], :, [0, 1]], "by several lists at once"),
        (lambda m, x: (x @ x.transpose(2, 3))[..., TRIANGLE[0], TRIANGLE[1]], "by several lists at once"),
        (lambda m, x: x[:, 9:], "leaves nothing"),
        (lambda m, x: x.layout, "reads '.layout' of a tensor"),
        (lambda m, x: (x, x), "more than one output"),
        (lambda m, x: m.scale, "more than one output"),
        (lambda m, x: F.adaptive_avg_pool2d(x, 5), "windows of one size can't do"),
        (lambda m, x: F.max_pool2d(x, 2, return_indices=True), "calls 'max_pool2d_with_indices'"),
        (lambda m, x: F.avg_pool2d(x, 2, divisor_override=3), "doesn't know in this form"),
        (lambda m, x: m.fc(x), "can't take inputs"),
        (lambda m, x: x + m.fc.weight, "can't take inputs"),
        (lambda m, x: F.pad(x, (1, 1), mode="circular"), "pads .* by circular"),
    ],
)
def test_refused_forms(
    written: Callable[[Written, Tensor], Any], message: str, scramble: Callable[[nn.Module], nn.Module]
) -> None:
    with pytest.raises(BitfaceError, match=message) as caught:
        read_module(network(written, scramble), SIZE)
    assert "\n" not in str(caught.value)


VIEWS: dict[str, Callable[[Written, Tensor], Tensor]] = {
    "slice": lambda m, x: x[:, :2],
    "picked": lambda m, x: x[:, 1],
    "chunk": lambda m, x: x.chunk(2, 1)[0],
    "split": lambda m, x: torch.split(x, 1, 1)[3],
    "unbind": lambda m, x: x.unbind(1)[0],
    "view": lambda m, x: x.view(x.size(0), -1),
    "reshape": lambda m, x: x.reshape(-1, 192),
    "flatten": lambda m, x: torch.flatten(x, 1),
    "Flatten": lambda m, x: m.flat(x),
    "permute": lambda m, x: x.permute(0, 2, 3, 1),
    "transpose": lambda m, x: torch.transpose(x, 1, 2),
    "squeeze": lambda m, x: x.unsqueeze(1).squeeze(1),
    "unsqueeze": lambda m, x: x.unsqueeze(1),
    "contiguous": lambda m, x: x.contiguous(),
    "float": lambda m, x: x.float(),
    "expand": lambda m, x: x.expand(-1, 4, 8, 6),
    "expand_as": lambda m, x: x.expand_as(x),
    "batch behind": lambda m, x: x.permute(1, 0, 2, 3),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_change_in_place_that_views_share_is_refused_where_they_are_read(
    name: str, scramble: Callable[[nn.Module], nn.Module]
) -> None:
    def through_the_view(m: Written, x: Tensor) -> Tensor:
        view = VIEWS[name](m, x)
        view += 1
        return x

    def under_the_view(m: Written, x: Tensor) -> Tensor:
        view = VIEWS[name](m, x)
        m.relu(x)
        return view * 2

    for written in (through_the_view, under_the_view):
        with pytest.raises(BitfaceError, match=r"reads '\w+' after a change in place .* shares its memory") as caught:
            read_module(network(written, scramble), SIZE)
        assert "\n" not in str(caught.value)


def test_a_tensor_of_the_network_that_it_changes_is_refused(scramble: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(BitfaceError, match="changes its 'slope' in place"):
        read_module(network(lambda m, x: m.slope.view(4, 1, 1).add_(x), scramble), SIZE)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Softmax()), "is a Softmax, which bitface doesn't know"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")), "doesn't know in this form"),
        (nn.Sequential(nn.Conv2d(3, 3, 2, padding="same")), "doesn't know in this form"),
        (nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), "doesn't know in this form"),
        (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), "doesn't know in this form"),
        (nn.Sequential(nn.Conv2d(4, 3, 3)), "can't take inputs"),
        (with_hook(), "module '0' has hooks"),
        (TwoInputs(), "more than one input"),
    ],
)
def test_refused_modules(module: nn.Module, message: str) -> None:
    with pytest.raises(BitfaceError, match=message):
        read_module(module, SIZE)


def test_the_module_stays_as_it_was(scramble: Callable[[nn.Module], nn.Module]) -> None:
    module = network(FORMS["module in place"], scramble).double().train()
    module.norm.eval()
    before = copy.deepcopy(module.state_dict())
    flags = [part.training for part in module.modules()]
    graph = read_module(module, SIZE)
    with torch.no_grad():
        graph(torch.randn(2, 3, *SIZE))
        for parameter in graph.parameters():
            parameter.zero_()
    assert [part.training for part in module.modules()] == flags
    assert list(before) == list(module.state_dict())
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert module.relu.inplace


def test_layers_called_twice_have_weights_of_their_own(scramble: Callable[[nn.Module], nn.Module]) -> None:
    graph = read_module(network(FORMS["shared layer"], scramble), SIZE)
    first, second = graph.get_submodule("twice"), graph.get_submodule("twice_1")
    assert torch.equal(graph.get_parameter("twice.weight"), graph.get_parameter("twice_1.weight"))
    assert first.weight.data_ptr() != second.weight.data_ptr()


@pytest.mark.parametrize("words", ["code", "forward", "training", "class", "image", "meta", "graph", "type", "0"])
def test_names_that_are_taken(words: str) -> None:
    module = nn.Sequential()
    if hasattr(module, words):
        pytest.skip("torch doesn't allow it either")
    module.add_module(words, nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()))
    assert_same(module)
