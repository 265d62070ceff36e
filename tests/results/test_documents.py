"""Results of every kind, from their files and back; those of bitface 0.1.0 lie in `v0.1.0/`.

They were made by that version on networks of a few thousand weights and pictures of noise, and cut to a few KB. The
demo is put together of the others.
"""

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from bitface.errors import BitfaceError
from bitface.files import json_text
from bitface.results.documents import KINDS, REPORTED, of_kind, read_result, read_runs
from bitface.results.evaluation import EvaluationRecord
from bitface.results.first_version import KEYS, kind_of

FIRST = Path(__file__).parent / "v0.1.0"
EXAMPLES = sorted(FIRST.glob("*.json"))
SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def content(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((FIRST / f"{name}.json").read_text())
    return value


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_result_of_the_first_version(path: Path, tmp_path: Path) -> None:
    before = content(path.stem)
    result = read_result(path)
    assert KINDS[result.kind] is type(result)
    after = result.to_json()
    assert list(after)[:2] == ["kind", "schema"]
    assert (after["kind"], after["schema"]) == (result.kind, 1)
    # Everything else stays, in its order; only an evaluation's `kind` of model has another name.
    renamed = {"kind": "model_kind"} if result.kind == "evaluation" else {}
    assert list(after)[2:] == [renamed.get(key, key) for key in before]
    if result.kind != "demo":
        assert json_text({key: after[renamed.get(key, key)] for key in before}) == json_text(before)
    # What was written now is read as the same, whatever its keys.
    assert read_result(written(tmp_path / "now.json", after)) == result
    assert result.but() == result


def test_every_kind_has_an_example_and_keys_of_its_own() -> None:
    kinds = {read_result(path).kind for path in EXAMPLES}
    assert kinds == set(KEYS) == set(KINDS) - {"reproduction"}  # younger than that version
    for path in EXAMPLES:
        assert [kind for kind, keys in KEYS.items() if keys <= set(content(path.stem))] == [kind_of(content(path.stem))]


def test_an_engine_that_the_first_version_did_not_say() -> None:
    before = content("quantization")
    del before["engine"]
    result = KINDS["quantization"].from_json(before)
    assert result.engine == "openvino"  # type: ignore[attr-defined]
    assert "engine" not in result.to_json()


def test_what_a_later_version_adds_is_kept(tmp_path: Path) -> None:
    later = {**read_result(FIRST / "bench.json").to_json(), "new": {"a": 1}}
    assert read_result(written(tmp_path / "later.json", later)).to_json() == later
    with pytest.raises(BitfaceError, match=r"later.json: is schema 2 of a bench, this version of bitface reads 1"):
        read_result(written(tmp_path / "later.json", {**later, "schema": 2}))
    with pytest.raises(BitfaceError, match="a result of bitface that a report can't show"):
        read_result(written(tmp_path / "later.json", {**later, "kind": "weather"}))


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        (("accuracy",), 7, r"'accuracy' can't be read"),
        (("tar", 0, "far"), "much", r"'tar\[0\].far' can't be read \(input should be a valid number.*, not 'much'\)"),
        (("baseline", "mixed", 1, "figures", 0), None, r"'baseline.mixed\[1\].figures\[0\]'"),
        (("counts", "genuine"), ..., r"'counts.genuine' can't be read \(it is missing\)"),
        (("notes",), "x" * 100, r"'notes' can't be read \(.*\.\.\.\)"),
    ],
)
def test_a_damaged_field_is_named(place: tuple[Any, ...], value: Any, field: str, tmp_path: Path) -> None:
    damaged = read_result(FIRST / "evaluation.json").to_json()
    inner = damaged
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path = written(tmp_path / "damaged.json", damaged)
    with pytest.raises(BitfaceError, match=rf"damaged.json: looks like .* an evaluation, but {field}.*") as error:
        read_runs([path])
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("make it again")


def test_what_a_report_shows() -> None:
    for path in EXAMPLES:
        if isinstance(read_result(path), REPORTED):
            assert read_runs([path])
        else:
            with pytest.raises(BitfaceError, match="a report can't show"):
                read_runs([path])
    evaluations = list(of_kind(read_runs([FIRST]), EvaluationRecord))
    assert [one.path.name for one in evaluations] == ["evaluation.json"]
    assert evaluations[0].result.model_kind == "artifact"
    assert evaluations[0].result.tar[0].far == 0.1


@pytest.mark.skipif(
    tuple(map(int, pydantic.VERSION.split(".")[:2])) < (2, 14), reason="older versions write the same schemas otherwise"
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_current(kind: str) -> None:
    """`python -m bitface.results.schemas docs/schemas` writes them again."""
    path = SCHEMAS / f"result-{kind}.schema.json"
    assert path.read_text() == json_text(KINDS[kind].json_schema())
