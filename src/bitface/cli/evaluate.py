"""`bitface evaluate`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitface.cli.console import engine_line, engine_of, fars_of, output, progress, remarks, table_of, write_json
from bitface.cli.options import (
    DryRunOption,
    EngineOption,
    JsonOption,
    OutputOption,
    ProtocolOption,
    SizeOption,
    SkipOption,
)
from bitface.cli.paths import to_folder
from bitface.errors import UsageError
from bitface.limits import LARGEST_SEED

if TYPE_CHECKING:
    from bitface.evaluation import VerificationResult
    from bitface.evaluation.figures.results import Result


# Of so many figures only those that the data supports have a column beside a baseline.
_MANY = 8


def evaluate(
    model: Annotated[
        Path | None, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="A list of pairs (CSV, LFW's pairs.txt and its like), or a .bin pack.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that the list's paths are relative to.")] = None,
    part: Annotated[str | None, typer.Option(help="Of the folder of the CFP protocol: cfp-ff or cfp-fp.")] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="TAR, AUC and EER over all pairs of the images.")
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Add the mirrored image's embedding.")] = False,
    engine: EngineOption = None,
    far: Annotated[str | None, typer.Option(help="False accept rates, such as 1e-3,1e-4.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the bootstrap.")] = 0,
    allow_skipped: SkipOption = False,
    used: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of faces that the model was made with: what of them does the test show?"),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="The float network: paired tests, its thresholds, and mixed galleries.")
    ] = None,
    groups: Annotated[
        Path | None, typer.Option(help="A CSV with a column path or person, and attributes: figures for each group.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Figures of a model whose embeddings are degenerate, too.")
    ] = False,
    protocol: ProtocolOption = None,
    suite: Annotated[Path | None, typer.Option(help="Instead: a YAML file of many models and protocols.")] = None,
    out: Annotated[
        Path | None, typer.Option(callback=to_folder, help="Of a suite: the folder of results and kept embeddings.")
    ] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Verify faces: accuracy over ten folds, AUC, EER and TAR at given FARs, each with its interval; or any other
    protocol: templates, videos, galleries, distractors.

    bitface evaluate out/model.bitface --pairs pairs.csv --root images/ --all-pairs --far 1e-4,1e-5

    bitface evaluate out/model.bitface --pairs lfw.bin --against net.onnx

    bitface evaluate out/model.bitface --protocol suite.yaml:IJB-C --against net.onnx

    bitface evaluate --suite suite.yaml --out results/

    With --json out/evaluation.json, `bitface report out/` draws it beside the model.
    """
    from bitface.evaluation import FARS, VerificationResult
    from bitface.jobs import EvaluateRequest, evaluate_model

    if suite:
        if model or pairs or protocol:
            raise UsageError(
                "a suite names its models and protocols itself; leave the model, --pairs and --protocol out"
            )
        if preprocess or size or embedding:
            raise UsageError(
                "--preprocess, --size and --output are those of one model; a suite has them beside each model's path"
            )
        _suite(suite, out, json, dry_run)
        return
    if model is None or (pairs is None and protocol is None):
        raise UsageError("name a model and --pairs, or --protocol, or a --suite")
    if out:
        raise UsageError("--out is for a --suite; --json writes the result of one model")
    request = EvaluateRequest(
        model, pairs, root, part, all_pairs, flip, engine_of(engine), fars_of(far, FARS), preprocess, threads, seed,
        allow_skipped, used or (), against, groups, anyway, size, protocol, embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        content, result = evaluate_model(request, steps)
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    output.print(engine_line(content["engine"]))
    if isinstance(result, VerificationResult):
        _print(result)
    else:
        _print_figures(result)
    _print_errors(content.get("match_errors") or [], content.get("failure_to_acquire"))
    _print_stored(content["stored_thresholds"])
    if content["baseline"]:
        _print_baseline(content["baseline"])
    if content["groups"]:
        _print_groups(content["groups"])


def _suite(path: Path, out: Path | None, json: Path | None, dry_run: bool) -> None:
    from bitface.inputs.suites import read_suite
    from bitface.jobs.suite import run_suite

    suite = read_suite(path, out)
    with progress(dry_run) as steps:
        content = run_suite(suite, steps)
    write_json(json, content)
    remarks(content["notes"], content["warnings"])
    output.print((suite.out / "results.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    output.print(str(suite.out / "results.json"), markup=False, soft_wrap=True)


def _print(result: "VerificationResult") -> None:
    accuracy, counts = result.accuracy, result.counts
    output.print(
        f"accuracy {accuracy.mean:.2%} ± {accuracy.std:.2%} over {len(accuracy.accuracies)} folds; over "
        f"{result.summary.protocol} ({counts.genuine:,} genuine, {counts.impostor:,} impostor): "
        f"AUC {result.auc:.6f}, EER {result.eer:.3%}",
        soft_wrap=True,
    )
    table = table_of("FAR", "TAR", "95 % interval", "threshold")
    for point in result.tar:
        if point.tar is None or point.interval is None:
            table.add_row(f"{point.far:g}", "not supported", point.reason or "", "")
        else:
            bounds = f"{point.interval.low:.2%} – {point.interval.high:.2%}"
            table.add_row(f"{point.far:g}", f"{point.tar:.2%}", bounds, f"{point.threshold:.4f}")
    output.print(table)


def _print_figures(result: "Result") -> None:
    table = table_of("figure", "value", "95 % interval")
    for figure in result.figures():
        bounds = figure.interval
        interval = f"{bounds.low:.2%} – {bounds.high:.2%}" if bounds else figure.reason or ""
        table.add_row(figure.name, "not supported" if figure.value is None else f"{figure.value:.2%}", interval)
    output.print(table)


def _print_errors(rows: list[dict[str, Any]], acquired: dict[str, Any] | None) -> None:
    """FMR and FNMR with how many errors they stand on, and images without an embedding."""
    table = table_of("at FAR", "FMR", "errors", "FNMR", "errors", title="ISO/IEC 19795-1")
    few = []
    for row in rows:
        cells = []
        for name in ("fmr", "fnmr"):
            rate = row[name]
            cells += [f"{rate['rate']:.3g}", f"{rate['errors']:,}{'*' * bool(rate['remark'])}"] if rate else ["", ""]
            few += [rate] if rate and rate["remark"] else []
        table.add_row(f"{row['far']:g}", *cells)
    if table.rows:
        output.print(table)
    if few:
        output.print("* fewer than 30 errors: it may be more than 30 % off (rule of 30); none: it is below 3 / trials")
    if acquired and acquired["errors"]:
        output.print(
            f"failure to acquire: {acquired['errors']:,} of {acquired['trials']:,} images, {acquired['rate']:.2%}"
        )


def _print_stored(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        mark = ", extrapolated" if row.get("extrapolated") else ""
        output.print(
            f"the artifact's threshold for FAR {row['target']:g}, {row['threshold']:.4f}{mark}, has FAR "
            f"{row['far']:.3g} and TAR {row['tar']:.2%} here",
            soft_wrap=True,
        )


def _print_baseline(content: dict[str, Any]) -> None:
    test = content["comparison"]["mcnemar"]
    if test is None:
        _print_changes(content)
    else:
        _print_comparison(content)
    _print_mixed(content["mixed"])


def _print_changes(content: dict[str, Any]) -> None:
    """Each figure beside the baseline's: with its change where decisions could be paired, else side by side."""
    table = table_of("figure", "baseline", "model", "change", "McNemar p", title=f"beside {content['model']}")
    for row in content["comparison"]["changes"]:
        bounds = row["interval"]
        change = f"{100 * row['change']:+.2f} [{100 * bounds['low']:+.2f}, {100 * bounds['high']:+.2f}]"
        table.add_row(
            row["name"], f"{row['baseline']:.2%}", f"{row['model']:.2%}", change, f"{row['mcnemar']['p']:.3g}"
        )
    if not table.rows:
        own = {figure["name"]: _percent(figure) for figure in content["mixed"][-1]["figures"]}
        for figure in content["figures"]:
            table.add_row(figure["name"], _percent(figure), own.get(figure["name"], ""), "", "")
    output.print(table)


def _print_comparison(content: dict[str, Any]) -> None:
    test = content["comparison"]["mcnemar"]
    output.print(
        f"beside {content['model']}: {test['flipped']} decisions differ, {test['b']} for the worse and {test['c']} for "
        f"the better (McNemar p = {test['p']:.3g})",
        markup=False,
        soft_wrap=True,
    )
    table = table_of("FAR", "TAR: baseline", "model", "change", "at the baseline's threshold: FAR", "TAR")
    for row in content["comparison"]["differences"]:
        bounds, reused = row["interval"], row["reused"]
        change = f"{100 * row['change']:+.2f}"
        change += f" [{100 * bounds['low']:+.2f}, {100 * bounds['high']:+.2f}]"
        rates = (f"{reused['far']:.3g}", f"{reused['tar']:.2%}") if reused else ("", "")
        table.add_row(f"{row['far']:g}", f"{row['baseline']:.2%}", f"{row['model']:.2%}", change, *rates)
    output.print(table)


def _print_mixed(cells: list[dict[str, Any]]) -> None:
    supported = {figure["name"] for cell in cells for figure in cell["figures"] if figure["value"] is not None}
    names = [
        figure["name"]
        for figure in cells[0]["figures"]
        if figure["name"] not in ("AUC", "EER") and (figure["name"] in supported or len(cells[0]["figures"]) < _MANY)
    ]
    mixed = table_of("gallery", "probes", *names)
    for cell in cells:
        values = {figure["name"]: _percent({**figure, "interval": None}) for figure in cell["figures"]}
        mixed.add_row(cell["gallery"], cell["probe"], *(values.get(name, "") for name in names))
    output.print(mixed)


def _print_groups(tables: dict[str, Any]) -> None:
    """Both rates at everybody's threshold for the strictest FAR, for each group; of the baseline beside them."""
    base = {(row["attribute"], row["group"]): row for row in tables.get("baseline", [])}
    table = table_of("group", "images", "FAR", "TAR", *(["baseline: FAR", "TAR", "change: FAR", "TAR"] if base else []))
    changes = {(row["attribute"], row["group"]): row for row in tables.get("changes", [])}
    for row in tables["model"]:
        sides = [row, *([base[row["attribute"], row["group"]]] if base else [])]
        cells: list[str] = []
        for side in sides:
            last = side["rates"][-1] if side["rates"] else None
            cells += [f"{last['far']:.3g}", f"{last['tar']:.2%}"] if last else ["not supported", ""]
        if change := changes.get((row["attribute"], row["group"])):
            ratio = change["far_ratio"]
            cells += [f"{ratio:.2f}x" if ratio is not None else "", f"{100 * change['tar_change']:+.2f}"]
        table.add_row(f"{row['attribute']}: {row['group']}", f"{row['images']:,}", *cells)
    output.print(table)
    _print_spread(tables)


def _print_spread(tables: dict[str, Any]) -> None:
    """How far groups lie apart at everybody's threshold for the strictest FAR."""
    last = min((row["target"] for row in tables.get("spread", [])), default=None)
    for title, key in (("", "spread"), ("the baseline's ", "baseline_spread")):
        for row in tables.get(key, []):
            if row["target"] == last and row["worst_to_mean"] is not None:
                output.print(
                    f"{title}{row['rate']} by {row['attribute']} at FAR {last:g}: worst {row['worst']}, "
                    f"{row['worst_to_mean']:.2f} times the geometric mean, {row['worst_to_best']:.2f} times the best "
                    f"({row['best']})",
                    markup=False,
                    soft_wrap=True,
                )


def _percent(figure: dict[str, Any]) -> str:
    """A figure of the JSON, with its interval, in per cent."""
    from bitface.evaluation.figures.figure import Figure
    from bitface.evaluation.figures.intervals import Interval
    from bitface.report.tables import percent

    bounds = figure["interval"]
    interval = Interval(**bounds) if bounds else None
    return percent(Figure(figure["name"], figure["value"], interval, spread=figure["spread"]))
