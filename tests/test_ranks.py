"""What the processes of one training tell one another."""

import pytest
import torch

from bitface import ranks
from bitface.errors import BitfaceError
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


def test_one_of_all_that_fail_says_why() -> None:
    assert sorted(on_ranks(3, ranks.fails_first)) == [False, False, True]
