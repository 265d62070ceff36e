"""The schedule with calls that only write down their turn, the figures with made-up times, and one real race."""

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bitface import artifact
from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, from_module, to_onnx
from bitface.quant import BitPlan, Calibration, quantize
from bitface.runtime import Model
from bitface.runtime import bench as measuring
from bitface.runtime.bench import Row, bench, compare, labels, race, ratio_of, slower_in_integers
from bitface.runtime.model import TEACHER_KEY
from bitface.targets import written
from support.forms import FORMS

MILLISECOND = 1_000_000


class Clock:
    """Time that passes only in calls; each writes down its name."""

    def __init__(self) -> None:
        self.now = 0
        self.called: list[str] = []

    def __call__(self) -> int:
        return self.now

    def call(self, name: str, milliseconds: float) -> Callable[[], None]:
        def run() -> None:
            self.called.append(name)
            self.now += int(milliseconds * MILLISECOND)

        return run


def raced(milliseconds: dict[str, float], **options: object) -> tuple[dict[str, list[float]], list[str]]:
    clock = Clock()
    calls = {name: clock.call(name, value) for name, value in milliseconds.items()}
    return race(calls, clock=clock, **options), clock.called  # type: ignore[arg-type]


def turns(called: list[str]) -> list[tuple[str, int]]:
    return [(name, len(list(group))) for name, group in groupby(called)]


def test_contenders_take_turns_after_warming_up() -> None:
    times, called = raced({"a": 30.0, "b": 40.0, "c": 50.0}, rounds=8)
    assert {name: len(values) for name, values in times.items()} == {"a": 80, "b": 80, "c": 80}
    assert all(set(values) == {value} for values, value in zip(times.values(), (30, 40, 50), strict=True))
    assert turns(called[:30]) == [("a", 10), ("b", 10), ("c", 10)]
    rounds = [called[start : start + 30] for start in range(30, len(called), 30)]
    assert len(rounds) == 8
    assert all(sorted(count for _, count in turns(part)) == [10, 10, 10] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1, "the order never changes"
    assert raced({"a": 30.0, "b": 40.0, "c": 50.0}, rounds=8)[1] == called


def test_the_first_run_of_a_fast_turn_is_not_timed() -> None:
    times, called = raced({"a": 1.0, "b": 30.0}, rounds=5)
    assert len(times["a"]) == len(times["b"]) == 50
    assert called[20:].count("a") == 55
    assert called[20:].count("b") == 50


def test_slow_ones_run_less_often_but_15_times() -> None:
    times, _ = raced({"a": 100.0, "b": 300.0, "c": 9000.0}, rounds=10, seconds=10)
    assert {name: len(values) for name, values in times.items()} == {"a": 100, "b": 33, "c": 15}


@pytest.mark.parametrize("rounds", [1, 3, 40])
def test_enough_runs_whatever_the_rounds(rounds: int) -> None:
    times, _ = raced({"a": 1.0, "b": 2.0}, rounds=rounds)
    assert all(len(values) >= 50 for values in times.values())


def test_a_single_contender_and_progress() -> None:
    seen: list[tuple[int, int]] = []
    prepared: list[int] = []
    raced({"a": 1.0}, rounds=4, progress=lambda *state: seen.append(state), prepare=lambda: prepared.append(1))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(prepared) == 2


def test_ratio_of_steady_times() -> None:
    noise = np.random.default_rng(1)
    base, own = 8 + noise.uniform(-0.2, 0.2, 100), 2 + noise.uniform(-0.05, 0.05, 100)
    ratio, interval, why = ratio_of(base.tolist(), own.tolist(), 10)
    assert why is None
    assert ratio == np.median(base) / np.median(own)
    assert interval is not None
    assert interval[0] <= ratio <= interval[1]
    assert 3.9 < interval[0] < interval[1] < 4.1
    assert ratio_of(base.tolist(), own.tolist(), 10) == (ratio, interval, why)


def test_what_disturbs_both_sides_of_a_round_cancels_out() -> None:
    slow_rounds = np.repeat(np.random.default_rng(0).uniform(1, 1.15, 10), 10)
    ratio, interval, _ = ratio_of((10 * slow_rounds).tolist(), (5 * slow_rounds).tolist(), 10)
    assert ratio == pytest.approx(2)
    assert interval == pytest.approx((2, 2))


def test_no_ratio_of_times_that_spread() -> None:
    steady = [1.0] * 60
    spread = [1.0] * 30 + [1.3] * 30
    assert ratio_of(steady, spread, 10)[0] is None
    assert ratio_of(spread, steady, 10)[:2] == (None, None)
    assert "the baseline's times spread by" in str(ratio_of(spread, steady, 10)[2])
    assert "its own times spread by" in str(ratio_of(steady, spread, 10)[2])
    within = [1.0] * 30 + [1.2] * 30
    assert ratio_of(steady, within, 10)[0] is not None


def test_different_numbers_of_runs() -> None:
    ratio, interval, _ = ratio_of([6.0] * 15, [3.0] * 100, 10)
    assert (ratio, interval) == (2.0, (2.0, 2.0))


def network(width: int = 8) -> Network:
    torch.manual_seed(width)
    layers = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.PReLU(width), nn.Flatten(), nn.Linear(width * 256, 16))
    return from_module(layers, "rgb-127.5-128", f"net{width}", (32, 32))


def of(net: Network, name: str = "net.onnx") -> Model:
    return Model(Path(name), "float", net)


def quantized(net: Network, name: str = "model.bitface", fingerprint: str | None = None) -> Model:
    faces = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    quick = Calibration(observer="minmax", equalization=False, bias_correction=False)
    plan = {"bits": "w7a8", "first": "w7a8", "last": "w7a8"}  # exact, and without a remark, on every CPU
    student, _ = quantize(net, faces, BitPlan.from_json(plan), quick)
    teacher = {"fingerprint": fingerprint or net.fingerprint()}
    return Model(Path(name), "artifact", student, details=artifact.Artifact(student, {}, teacher))


def rows_of(models: list[Model], milliseconds: Callable[[str, str], list[float]]) -> dict[tuple[str, str, str], object]:
    contenders, _ = measuring._contenders(models, written())
    times = {item: milliseconds(item.label, item.precision) for item in contenders}
    return {(row.model, row.engine, row.precision): row for row in compare(times, 4, 1, 10)}


def test_rows_beside_their_own_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "has_bf16", lambda: True)
    small, large = network(8), network(12)
    models = [of(small, "small.onnx"), of(large, "large.onnx"), quantized(large)]
    values = {"f32": 8.0, "bf16": 4.0, "int8": 2.0}

    def milliseconds(label: str, precision: str) -> list[float]:
        return [values[precision] * (1 if label == "small.onnx" else 3)] * 60

    rows: dict[Any, Any] = rows_of(models, milliseconds)
    assert len(rows) == 2 * 3 + 2
    row = rows["model.bitface", "openvino", "int8"]
    assert (row.median_ms, row.iqr_ms, row.p95_ms, row.runs) == (6.0, 0.0, 6.0, 60)
    assert row.per_second == pytest.approx(4 / 0.006)
    assert (row.baseline, row.ratio, row.ratio_interval) == ("large.onnx f32", 4.0, (4.0, 4.0))
    assert row.ratios == {"f32": 4.0, "bf16": 2.0}
    assert row.note is None
    assert rows["model.bitface", "onnxruntime", "int8"].ratios == {"f32": 4.0}
    assert rows["small.onnx", "openvino", "bf16"].baseline == "small.onnx f32"
    assert rows["small.onnx", "openvino", "f32"].baseline is None
    assert rows["small.onnx", "openvino", "f32"].note is None


def test_few_runs_and_missing_baselines_are_noted() -> None:
    rows: dict[Any, Any] = rows_of([quantized(network())], lambda *_: [1.0] * 15)
    note = rows["model.bitface", "openvino", "int8"].note
    assert "15 runs only" in note
    assert "its float network isn't in this run" in note


def test_a_spread_baseline_gives_no_ratio() -> None:
    net = network()
    rows: dict[Any, Any] = rows_of(
        [of(net), quantized(net)], lambda _, precision: [1.0, 2.0] * 30 if precision == "f32" else [1.0] * 60
    )
    row = rows["model.bitface", "openvino", "int8"]
    assert (row.ratio, row.ratio_interval, row.ratios["f32"]) == (None, None, None)
    assert "the baseline's times spread by" in row.note


def test_the_only_float_network_is_the_baseline_and_a_guess_is_said() -> None:
    net = network()
    other = quantized(network(12), fingerprint="0" * 64)
    rows: dict[Any, Any] = rows_of([of(net), other], lambda *_: [1.0] * 60)
    row = rows["model.bitface", "openvino", "int8"]
    assert row.baseline == "net.onnx f32"
    assert row.note == "compared with the only float network here, which it wasn't made from"


def test_a_float_file_that_does_not_say_its_preprocessing_is_still_the_teacher() -> None:
    net = network()
    nameless = Network(net.graph, net.name)
    assert nameless.fingerprint() != net.fingerprint()
    rows: dict[Any, Any] = rows_of(
        [of(network(12), "b.onnx"), of(nameless, "a.onnx"), quantized(net)], lambda *_: [1.0] * 60
    )
    row = rows["model.bitface", "openvino", "int8"]
    assert (row.baseline, row.note) == ("a.onnx f32", None)


def test_an_exported_file_runs_on_its_own_engine_beside_its_teacher(tmp_path: Path) -> None:
    net = network()
    student = quantized(net).network
    metadata = {TEACHER_KEY: f'{{"fingerprint": "{net.fingerprint()}"}}'}
    exported = Network(student.graph, "x", student.preprocess, metadata=metadata)
    path = tmp_path / "x.onnx"
    path.write_bytes(to_onnx(student.graph, FORMS["onnxruntime"]).SerializeToString())
    models = [of(network(12), "b.onnx"), of(net), Model(path, "exported", exported, "onnxruntime")]
    contenders, _ = measuring._contenders(models, written())
    assert [(item.engine, item.family) for item in contenders if item.label == "x.onnx"] == [
        ("onnxruntime", net.fingerprint())
    ]
    with pytest.raises(BitfaceError, match="nothing to measure: no model runs on openvino"):
        bench(models[2:], engines=("openvino",))


def test_bf16_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "has_bf16", lambda: False)
    contenders, notes = measuring._contenders([of(network()), of(network(12))], written())
    assert {item.precision for item in contenders} == {"f32"}
    assert notes == ["bf16 left out: this CPU isn't known to have instructions for it"]


def test_labels_tell_files_apart() -> None:
    paths = [Path("out/w8a8/model.bitface"), Path("out/w4a8/model.bitface"), Path("net.onnx")]
    assert labels(paths) == ["w8a8/model.bitface", "w4a8/model.bitface", "net.onnx"]
    assert labels([Path("a/b/x.onnx"), Path("c/b/x.onnx"), Path("a/b/x.onnx")]) == [
        "b/x.onnx",
        "b/x.onnx (2)",
        "b/x.onnx (3)",
    ]


@pytest.mark.parametrize(
    "options", [{"models": []}, {"engines": ("torch",)}, {"batches": (0,)}, {"threads": ()}, {"rounds": 0}]
)
def test_impossible_requests(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="bench needs models"):
        bench(**{"models": [of(network())], **options})


def test_two_real_networks_end_to_end() -> None:
    net = network()
    done: list[tuple[int, int]] = []
    result = bench(
        [of(net), quantized(net)], batches=(1, 3), rounds=2, seconds=0.2, progress=lambda *state: done.append(state)
    ).to_json()
    rows = {(row["model"], row["engine"], row["precision"], row["batch"]): row for row in result["rows"]}
    for batch in (1, 3):
        for engine in ("openvino", "onnxruntime"):
            row = rows["model.bitface", engine, "int8", batch]
            assert row["baseline"] == "net.onnx f32"
            assert (row["ratio"] is None) == (row["ratio_interval"] is None)
            assert row["ratio"] is not None or "spread by" in row["note"]
            assert set(row["ratios"]) >= {"f32"}
            assert row["runs"] >= 15
            assert row["per_second"] == pytest.approx(batch * 1000 / row["median_ms"])
            assert rows["net.onnx", engine, "f32", batch]["baseline"] is None
    assert result["machine"]
    assert result["versions"]["openvino"]
    assert sum("pinned to" in note for note in result["notes"]) == 2
    assert done[-1][0] == done[-1][1]
    assert [state[0] for state in done] == sorted(state[0] for state in done)


def test_bf16_that_the_engine_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenVINO does where it is told to do without the CPU's instructions."""
    monkeypatch.setattr(measuring, "has_bf16", lambda: True)
    started = measuring.runner

    def runner(model: Model, engine: str, batch: int, threads: int, precision: str) -> Callable[[], object]:
        if precision == "bf16":
            raise BitfaceError("openvino can't load it")
        return started(model, engine, batch, threads, precision)

    monkeypatch.setattr(measuring, "runner", runner)
    result = bench([of(network())], engines=("openvino",), rounds=1, seconds=0.01)
    assert [row.precision for row in result.rows] == ["f32"]
    assert sum("OpenVINO refuses it here" in note for note in result.notes) == 1


def test_integers_that_are_slower_than_floats_are_warned_of() -> None:
    def row(engine: str, milliseconds: float, ratio: float | None, width: float = 0.02) -> Row:
        ends = None if ratio is None else (ratio - width, ratio + width)
        rest = {"ratio": ratio, "ratio_interval": ends}
        return Row("m.bitface", engine, "int8", 1, 1, 50, milliseconds, 0.1, 2.0, 1e3 / milliseconds, None, **rest)  # type: ignore[arg-type]

    fast = row("openvino", 2.0, 2.5)
    (warning,) = slower_in_integers([fast, row("onnxruntime", 12.6, 0.94)])
    assert warning.startswith("m.bitface: ONNX Runtime runs its integers slower than the float network (12.6 ms, 0.94")
    assert warning.endswith("; OpenVINO runs it in 2 ms")
    assert not slower_in_integers([fast, row("onnxruntime", 12.6, 0.99), row("ncnn", 12.6, None)])
