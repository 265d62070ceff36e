"""What the processes of one training tell one another."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import bitface
from bitface import ranks
from bitface.errors import BitfaceError
from bitface.store import Store, array
from support.ranks import on_ranks


def test_alone_everything_stays_as_it_is() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert (ranks.count(), ranks.rank(), ranks.is_first(), ranks.part(5)) == (1, 0, True, slice(0, 5))
    assert ranks.gathered(x, 3) is ranks.shared(x) is ranks.summed(x) is x
    assert ranks.told("a") == ["a"]
    ranks.agree({"faces": "a"})
    assert ranks.fails_first()


def gradients(total: int) -> list[list[float]]:
    """Of a loss between all pairs of rows, by this rank's rows; and the rows of all."""
    torch.manual_seed(0)
    rows = torch.randn(total, 3)
    own = rows[ranks.part(total)].clone().requires_grad_(True)
    everything = ranks.gathered(own, total)
    loss = (everything @ everything.T).square().sum()
    return [everything.detach().flatten().tolist(), torch.autograd.grad(loss, own)[0].flatten().tolist()]


@pytest.mark.parametrize("total", [4, 5, 2])
def test_rows_of_all_ranks_with_each_ones_gradient(total: int) -> None:
    (everything, expected), parts = gradients(total), on_ranks(3, gradients, total)
    assert all(one == pytest.approx(everything) for one, _ in parts)
    assert [number for _, own in parts for number in own] == pytest.approx(expected, rel=1e-6)


def together(total: int, size: int) -> list[bytes]:
    """Rows of several types, of each rank its own, with numbers whose bits a sum would change."""
    floats = np.array([[-0.0, np.nan], [np.inf, 1e-45], [1.5, -2.5], [0.0, -1e-30], [7.0, -0.0]], np.float32)
    numbers = np.arange(total)
    arrays = [floats[:total], numbers - (1 << 62), numbers % 2 == 0, numbers.astype(np.uint64)]
    return [ranks.joined_array(one[ranks.share(total, size)], total, size).tobytes() for one in arrays]


@pytest.mark.parametrize("total", [5, 3, 2, 1])
@pytest.mark.parametrize("size", [1, 2])
def test_rows_of_all_ranks_bit_by_bit(total: int, size: int) -> None:
    assert on_ranks(3, together, total, size) == [together(total, size)] * 3


def computed(folder: str, known: int) -> tuple[float, list[str]]:
    """A value that all ranks compute together where one of them lacks it; each machine has a store of its own."""
    os.environ["LOCAL_RANK"] = "0"
    store = Store(Path(folder) / str(ranks.rank()))
    form = array("sum")
    if ranks.rank() == known:
        store.keep("sums", "a", form, np.full(1, 3.0))
    value = ranks.kept(store, "sums", "a", form, lambda: ranks.reduced(torch.ones(1)).numpy())
    return float(value[0]), [path.name for path in (store.root / "sums").iterdir()]


@pytest.mark.parametrize("known", [-1, 1])
def test_what_one_lacks_all_compute(tmp_path: Path, known: int) -> None:
    for _ in range(2):
        assert on_ranks(3, computed, str(tmp_path), known) == [(3.0, ["a.safetensors"])] * 3


def divided() -> list[float]:
    """Gradients of a sum over the ranks, each of which computes a part of it from what all have."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    share = (ranks.shared(x) * (ranks.rank() + 1)).square().sum()
    return torch.autograd.grad(ranks.summed(share), x)[0].tolist()


def test_what_each_rank_computes_a_part_of() -> None:
    assert on_ranks(2, divided) == [[10.0, 20.0]] * 2  # 2 x (1 + 4)


def settled() -> tuple[float, float, list[float], list[int]]:
    own = torch.tensor([float(ranks.rank())])
    tensor = torch.arange(6.0).view(2, 3).T[ranks.rank() : ranks.rank() + 1].clone()
    ranks.as_the_first([tensor])
    low, high = ranks.reduced(own.clone(), "min").item(), ranks.reduced(own.clone(), "max").item()
    return low, high, tensor.flatten().tolist(), ranks.told(ranks.rank())


def test_what_all_ranks_know() -> None:
    assert on_ranks(3, settled) == [(0.0, 2.0, [0.0, 3.0], [0, 1, 2])] * 3


def disagreement() -> str:
    with pytest.raises(BitfaceError) as caught:
        ranks.agree({"network": "a", "faces": str(ranks.rank() // 2)})
    return str(caught.value)


def test_ranks_about_different_things() -> None:
    assert (
        on_ranks(3, disagreement)
        == ["rank 2 has other faces than rank 0; give all machines the same files and the same version of bitface"] * 3
    )


def other_version() -> str:
    if ranks.rank() == 1:
        bitface.__version__ = "0.0.1"
    with pytest.raises(BitfaceError) as caught:
        ranks.agree({"network": "a"})
    return str(caught.value)


def test_ranks_of_different_versions() -> None:
    assert all(
        text.startswith("rank 1 has other version of bitface than rank 0; give all machines")
        for text in on_ranks(2, other_version)
    )


def test_one_of_all_that_fail_says_why() -> None:
    assert sorted(on_ranks(3, ranks.fails_first)) == [False, False, True]
