"""`bitface evaluate`"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bitface.cli.console import output, progress, remarks
from bitface.errors import UsageError
from bitface.evaluation import FARS
from bitface.files import write_json
from bitface.jobs import evaluate_model
from bitface.runtime import ENGINES


def evaluate(
    model: Annotated[Path, typer.Argument(help="A network file, a .bitface artifact or an exported ONNX file.")],
    pairs: Annotated[Path, typer.Option(help="A CSV with the columns a, b, same, fold.")],
    root: Annotated[Path, typer.Option(help="The folder that the paths in the CSV are relative to.")],
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="TAR, AUC and EER over all pairs of the images.")
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Add the mirrored image's embedding.")] = False,
    engine: Annotated[str | None, typer.Option(help="openvino (default), onnxruntime or torch.")] = None,
    far: Annotated[str | None, typer.Option(help="False accept rates, such as 1e-3,1e-4.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="For float networks that don't say it themselves.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    allow_skipped: Annotated[
        bool, typer.Option("--allow-skipped", help="Accept more than 1 % unusable images.")
    ] = False,
    used: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of faces that the model was made with: what of them does the test show?"),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
) -> None:
    """Verify faces: accuracy over ten folds, AUC, EER and TAR at given FARs, each with its interval.

    bitface evaluate out/model.bitface --pairs pairs.csv --root images/ --all-pairs --far 1e-4,1e-5
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError(f"unknown engine '{engine}': use one of {', '.join(ENGINES)}")
    with progress() as steps:
        content, result = evaluate_model(
            model,
            pairs,
            root,
            all_pairs=all_pairs,
            flip=flip,
            engine=engine,
            fars=_fars(far),
            preprocess=preprocess,
            threads=threads,
            seed=seed,
            allow_skipped=allow_skipped,
            used=used or (),
            progress=steps("embedding"),
        )
    if json:
        write_json(json, content)
    remarks(content["notes"], content["warnings"])
    accuracy, counts = result.accuracy, result.counts
    output.print(
        f"accuracy {accuracy.mean:.2%} ± {accuracy.std:.2%} over {len(accuracy.accuracies)} folds; over "
        f"{result.summary.protocol} ({counts.genuine:,} genuine, {counts.impostor:,} impostor): "
        f"AUC {result.auc:.6f}, EER {result.eer:.3%}",
        soft_wrap=True,
    )
    table = Table("FAR", "TAR", "95 % interval", "threshold")
    for point in result.tar:
        if point.tar is None or point.interval is None:
            table.add_row(f"{point.far:g}", "not supported", point.reason or "", "")
        else:
            bounds = f"{point.interval.low:.2%} – {point.interval.high:.2%}"
            table.add_row(f"{point.far:g}", f"{point.tar:.2%}", bounds, f"{point.threshold:.4f}")
    output.print(table)


def _fars(text: str | None) -> tuple[float, ...]:
    if text is None:
        return FARS
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--far takes numbers such as 1e-3,1e-4, not '{text}'") from None
