from pathlib import Path
from typing import Any

import pytest

from bitface.errors import UsageError
from bitface.quant import BitPlan, LayerBits
from bitface.quant.plan import Layer

LAYERS = [Layer("stem", "Conv", first=True), Layer("body.1.conv", "Conv"), Layer("body.1.add", "Add"),
          Layer("head", "Linear", last=True)]  # fmt: skip


def bits_of(plan: BitPlan) -> list[str]:
    return [str(layer.bits) for layer in plan.resolve(LAYERS)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("w8a8", ["w8a8"] * 4),
        ("w4a4", ["w8a8", "w4a4", "w4a4", "w8a8"]),
        (" W2A6 ", ["w8a8", "w2a6", "w2a6", "w8a8"]),
        ("w4a32", ["w8a32", "w4a32", "w4a32", "w8a32"]),
        ("w4a16", ["w8a16", "w4a16", "w4a16", "w8a16"]),
    ],
)
def test_short_forms(word: str, expected: list[str]) -> None:
    assert bits_of(BitPlan.parse(word)) == expected


@pytest.mark.parametrize(
    "word",
    [
        "w9a8",
        "w0a4",
        "x",
        "",
        "w8a1",
        "w1a1",
        "w8a33",
        "w8a9",
        "w8a15",
        "w16a16",
        "w8",
        "a8",
        "w8a8x",
        "w32a8",
        "w-4a8",
        "8",
    ],
)
def test_impossible_words(word: str) -> None:
    with pytest.raises(UsageError, match="unknown bits"):
        BitPlan.parse(word)


@pytest.mark.parametrize(
    ("plan", "widest"),
    [
        ({"bits": "w8a16"}, 16),
        ({"bits": "w4a4"}, 8),
        ({"bits": "w4a4", "first": None, "last": None}, 4),
        ({"bits": "w8a32"}, 0),
        ({"bits": "w8a8", "layers": {"body.*": "w8a16"}}, 16),
        ({"bits": "w8a8", "layers": {"body.*": "w8a32"}}, 8),
    ],
)
def test_the_widest_activation(plan: dict[str, Any], widest: int) -> None:
    assert BitPlan.from_json(plan).widest_activation == widest


def parse(folder: Path, text: str) -> BitPlan:
    (folder / "plan.yaml").write_text(text)
    return BitPlan.parse(folder / "plan.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bits: w4a4", ["w8a8", "w4a4", "w4a4", "w8a8"]),
        ("{}", ["w8a8"] * 4),
        ("bits: w4a4\nfirst:\nlast: null", ["w4a4"] * 4),
        ("bits: w4a4\nfirst: w6a8", ["w6a8", "w4a4", "w4a4", "w8a8"]),
        ("bits: w4a32", ["w8a32", "w4a32", "w4a32", "w8a32"]),
        ("layers:\n  'body.*': w4a4\n  stem: w32a8", ["w32a8", "w4a4", "w4a4", "w8a8"]),
        ("layers:\n  'body.?.conv': w2a2\n  'body.*': w4a4\n  '*': w5a5", ["w5a5", "w2a2", "w4a4", "w5a5"]),
        ("layers:\nweights:", ["w8a8"] * 4),
    ],
)
def test_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert bits_of(parse(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bit: w4a4", "unknown key 'bit'; did you mean 'bits'"),
        ("weights: {symetric: true}", "unknown key 'symetric'; did you mean 'symmetric'"),
        ("zzz: 1", "unknown key 'zzz'$"),
        ("1: 2", "unknown key '1'"),
        ("- w4a4", "must be a mapping"),
        ("w4a4", "must be a mapping"),
        ("", "must be a mapping"),
        ("bits: 8", "unknown bits '8'"),
        ("bits: [w4a4]", "unknown bits"),
        ("bits: other.yaml", "unknown bits 'other.yaml'"),
        ("bits: w32a8", "unknown bits"),
        ("first: false", "unknown bits 'False'"),
        ("last: 8", "unknown bits '8'"),
        ("layers: [stem]", "must map patterns to bits"),
        ("layers: ''", "must map patterns to bits"),
        ("layers: {stem: }", "unknown bits 'None'"),
        ("layers: {stem: w1a1}", "unknown bits 'w1a1'"),
        ("weights: []", "must be a mapping"),
        ("weights: {symmetric: 1}", "'symmetric' of the plan's weights can't be 1: use true or false"),
        ("activations: maybe", "use auto, symmetric, asymmetric or signed"),
        ("activations: [auto]", "use auto, symmetric, asymmetric or signed"),
        ("bits: 'w4a4", "no readable bit plan"),
        ("bits: !!python/object/apply:os.getcwd []", "no readable bit plan"),
        ("when: 2026-99-99", "no readable bit plan"),
        ("[" * 2000, "no readable bit plan"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'plan.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yml"):
        with pytest.raises(UsageError, match=f"{name}: no readable bit plan"):
            BitPlan.parse(tmp_path / name)


def test_a_pattern_without_a_layer_names_the_nearest() -> None:
    plan = BitPlan(layers=(("body.1.cnv", LayerBits(4, 4)),))
    with pytest.raises(UsageError, match=r"names 'body.1.cnv'.* nearest is 'body.1.conv'"):
        plan.resolve(LAYERS)
    with pytest.raises(UsageError, match=r"no layer of this network$"):
        BitPlan(layers=(("###", LayerBits(4, 4)),)).resolve(LAYERS)


@pytest.mark.parametrize(
    "plan",
    [
        BitPlan(),
        BitPlan.parse("w3a32"),
        BitPlan(
            LayerBits(4, 4), None, None, (("a.*", LayerBits(32, 8)), ("b", LayerBits(2, 32))), False, False, "symmetric"
        ),
    ],
)
def test_json_round_trip(plan: BitPlan) -> None:
    value: dict[str, Any] = plan.to_json()
    assert BitPlan.from_json(value) == plan
    assert BitPlan.from_json(value).to_json() == value


def test_reasons() -> None:
    plan = BitPlan.parse("w4a4")
    reasons = [layer.reason for layer in plan.resolve(LAYERS)]
    assert reasons == ["first layer", "plan", "plan", "last layer"]
    assert BitPlan(layers=(("st*", LayerBits(4, 4)),)).resolve(LAYERS)[0].reason == "pattern st*"


def test_other_edges() -> None:
    plan = BitPlan.parse("w4a4")
    assert plan.with_edges() == plan
    assert bits_of(plan.with_edges("plan", "w6a8")) == ["w4a4", "w4a4", "w4a4", "w6a8"]
    with pytest.raises(UsageError, match="unknown bits 'x'"):
        plan.with_edges("x")


def test_layers_by_number() -> None:
    layers = [Layer("a", "Conv", first=True), Layer("b", "Conv"), Layer("sum", "Add"), Layer("c", "Linear", last=True)]
    plan = BitPlan.from_json({"bits": "w8a8", "layers": {"#1": "w6a6", "#2-3": "w4a4"}})
    assert [str(layer.bits) for layer in plan.resolve(layers)] == ["w6a6", "w4a4", "w4a4", "w4a4"]
    with pytest.raises(UsageError, match="#4"):
        BitPlan.from_json({"layers": {"#4": "w4a4"}}).resolve(layers)


def test_the_two_conventions() -> None:
    layers = [*LAYERS[:2], Layer("body.2.conv", "Conv", depthwise=True), *LAYERS[2:]]
    strict, wide = (BitPlan.parse(word) for word in ("w4a4", "W4A4s8"))
    assert [str(layer.bits) for layer in strict.resolve(layers)] == ["w8a8", "w4a4", "w4a4", "w4a4", "w8a8"]
    assert [str(layer.bits) for layer in wide.resolve(layers)] == ["w8a8", "w4a4", "w8a4", "w8a8", "w8a8"]
    assert (strict.word, wide.word) == ("w4a4", "w4a4s8")
    assert BitPlan.from_json(wide.to_json()) == wide
    assert BitPlan.from_json({"bits": "w3a3s6", "sums": "w8a8"}).word == "w3a3"  # no convention has both
    assert wide.widest_activation == 8


@pytest.mark.parametrize("word", ["w4a4s", "w4a4s1", "w4a4s9", "w4a4s32", "w4s8", "s8"])
def test_words_of_no_convention(word: str) -> None:
    with pytest.raises(UsageError, match="unknown bits"):
        BitPlan.parse(word)
