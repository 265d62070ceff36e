import copy
from typing import Any

import pytest
import torch

from bitface.errors import UsageError
from bitface.losses import LOSSES, Loss, build, build_sum, options_of, to_json

VARIANTS: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in LOSSES] + [("rcm", {"centers": "ema"})]


def batch(
    step: int, rows: int = 16, width: int = 8, people: int = 6
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    teacher = torch.randn(rows, width, generator=generator)
    student = teacher + 0.3 * torch.randn(rows, width, generator=generator)
    return student.requires_grad_(), teacher, torch.randint(0, people, (rows,), generator=generator)


def ready(loss: Loss) -> Loss:
    if loss.wants_refresh:
        student, teacher, labels = (x.detach() for x in batch(100))
        loss.refresh([(student, teacher, labels)])
    return loss


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_every_loss_gives_a_finite_scalar_and_a_gradient(name: str, options: dict[str, Any]) -> None:
    loss = ready(build(name, 8, 6, **options))
    for step in range(3):
        student, teacher, labels = batch(step)
        value = loss(student, teacher, labels)
        value.backward()
    assert isinstance(loss, Loss)
    assert value.shape == ()
    assert torch.isfinite(value)
    assert student.grad.abs().max() > 0
    assert torch.isfinite(student.grad).all()
    assert all(parameter.grad is not None for parameter in loss.parameters())


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_every_loss_continues_bit_by_bit(name: str, options: dict[str, Any]) -> None:
    one = ready(build(name, 8, 6, **options))
    for step in range(4):
        one(*batch(step))
    state = copy.deepcopy(one.state_dict())
    two = build(name, 8, 6, **options)
    two.load_state_dict(state)
    for step in range(4, 8):
        assert torch.equal(one(*batch(step)), two(*batch(step)))
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.needs_labels])
def test_every_loss_of_classes_begins_with_the_teachers(name: str) -> None:
    loss = build(name, 8, 6)
    _, teacher, labels = batch(0)
    loss.begin([(teacher[:5], labels[:5]), (teacher[5:], labels[5:])])
    means = torch.stack([torch.nn.functional.normalize(teacher[labels == one]).mean(0) for one in labels.unique()])
    weight = loss.margin.weight if name == "rcm" else loss.weight
    expected = torch.nn.functional.normalize(means)
    torch.testing.assert_close(weight[labels.unique()].detach(), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_labels(name: str) -> None:
    loss = LOSSES[name]
    assert loss.needs_labels == (name not in ("feature", "relational", "ekd", "ekd-shift"))
    assert loss.uses_pairs == name.startswith("ekd")
    student, teacher, _ = batch(0)
    if name in ("feature", "relational"):
        build(name, 8)(student, teacher, None)
    else:
        with pytest.raises(UsageError, match=r"needs a label"):
            build(name, 8, 6)(student, teacher, None)
    if loss.needs_labels:
        with pytest.raises(UsageError, match="needs labelled faces"):
            build(name, 8)


@pytest.mark.parametrize("name", LOSSES)
def test_options_that_all_have_defaults(name: str) -> None:
    assert not {"embedding_size", "classes", "generator"} & set(options_of(name))
    build(name, 8, 6, **options_of(name))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("arcfce", {}, "did you mean 'arcface'"),
        ("ekd", {"hardst": 5}, "did you mean 'hardest'"),
        ("relational", {"m": 0.5}, "no option 'm'"),
        ("arcface", {"m": 9}, "'m' is 9: use 0 to 1.5"),
        ("arcface", {"m": "big"}, "'m' can't be 'big'"),
        ("arcface", {"s": float("nan")}, "'s' can't be nan"),
        ("l2-softmax", {"s": 0}, "use 1 to 1000"),
        ("sphereface", {"m": 0.5}, "use 1 to 8"),
        ("softmax", {"bias": 1}, "use true or false"),
        ("rcm", {"form": "D"}, "A or B or C"),
        ("rcm", {"margin": "arcfac"}, "did you mean 'arcface'"),
        ("rcm", {"error": []}, "scalar or vector"),
        ("rcm", {"lam": -1}, "use 0 to 100"),
        ("rcm", {"lam": True}, "'lam' can't be True"),
        ("ekd", {"memory": 2.5}, "use a whole number"),
        ("ekd", {"decay": 1}, "use 0 to 0.9999"),
        ("feature", {"form": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_impossible_requests(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(name, 8, 6, **options)
    assert "\n" not in str(caught.value)


def test_a_sum_weighs_its_parts() -> None:
    total = build_sum({"feature": 2, "relational": {"weight": 0.5, "distance": "absolute"}, "arcface": {}}, 8, 6)
    student, teacher, labels = batch(0)
    value = total(student, teacher, labels)
    parts = [
        2 * build("feature", 8)(student, teacher, None),
        0.5 * build("relational", 8, distance="absolute")(student, teacher, None),
        total.losses["arcface"](student, teacher, labels),
    ]
    assert value.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-6)
    assert (total.needs_labels, total.uses_pairs, total.wants_refresh) == (True, False, False)
    value.backward()
    assert [name for name, parameter in total.named_parameters() if parameter.grad is not None] == [
        "losses.arcface.weight"
    ]


def test_a_sum_continues_and_passes_refreshes_on() -> None:
    recipe = {"feature": 1.0, "ekd-shift": {"weight": 0.5, "memory": 32}, "rcm": {"lam": 2}}
    one = build_sum(recipe, 8, 6)
    assert one.wants_refresh
    assert one.uses_pairs
    ready(one)
    for step in range(3):
        one(*batch(step))
    two = build_sum(recipe, 8, 6)
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(*batch(5)), two(*batch(5)))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({}, "at least one loss"),
        ({"feature": 0}, "'weight' is 0"),
        ({"feature": "much"}, "'weight' can't be 'much'"),
        ({"feature": {"weight": None}}, "'weight' can't be None"),
        ({"fature": 1.0}, "did you mean 'feature'"),
    ],
)
def test_impossible_sums(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_sum(recipe, 8, 6)


class Mine(Loss):
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return (student - teacher).abs().pow(self.power).sum(1).mean()


def test_a_loss_is_given_as_an_object_alone_or_beside_others() -> None:
    student, teacher = torch.ones(2, 4), torch.zeros(2, 4)
    assert build_sum(Mine(), 4)(student, teacher, None) == 4
    both = build_sum({"feature": 2.0, "mine": Mine(3.0)}, 4)
    assert list(both.weights.items()) == [("feature", 2.0), ("mine", 1.0)]
    assert to_json({"feature": 2.0, "mine": Mine(3.0)}) == {"feature": 2.0, "mine": {"class": "Mine", "power": 3.0}}


def test_an_object_is_told_by_its_class_and_attributes() -> None:
    assert repr(Mine()) == repr(Mine()) == "Mine(power=2.0)"
    assert repr(Mine()) != repr(Mine(3.0))


def test_a_training_leaves_an_object_as_it_was() -> None:
    loss = Mine()
    assert build_sum(loss, 4).losses["Mine"] is not loss
