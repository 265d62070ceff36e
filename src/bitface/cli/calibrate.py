"""`bitface calibrate`"""

from pathlib import Path
from typing import Annotated

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
from bitface.cli.paths import Over, Words, to_file
from bitface.limits import LARGEST_SEED


def calibrate(
    model: Annotated[Path, typer.Argument(help="A .bitface artifact.")],
    pairs: Annotated[Path | None, typer.Option(help="A list of pairs, in any form that `evaluate` reads.")] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that the list's paths are relative to.")] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Instead of a list: a folder of faces, one folder for each person.")
    ] = None,
    protocol: ProtocolOption = None,
    labels: Annotated[str, typer.Option(help="folder, or a CSV file with the columns path,label.")] = "folder",
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="All pairs of the list's images.")] = False,
    far: Annotated[str | None, typer.Option(help="False accept rates (default: 1e-2 to 1e-5).")] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="The float network: what would its thresholds do on the artifact?")
    ] = None,
    preprocess: Annotated[str | None, typer.Option(help="Of a teacher that doesn't say it itself.")] = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    data: Annotated[
        str | None, typer.Option(help="How the artifact describes these faces; no names, please."), Words()
    ] = None,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Add the mirrored image's embedding, here and in verify.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of the bootstrap.")] = 0,
    allow_skipped: SkipOption = False,
    out: Annotated[
        Path | None,
        typer.Option(callback=to_file, help="Write to this file and leave the artifact as it is."),
        Over("model"),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="FARs that too few pairs decide: by the scores' tail, marked so.")
    ] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Find the decision thresholds of an artifact for given false accept rates, and keep them in it.

    A rate that the faces don't support is listed with what it would need; the others are kept.

    bitface calibrate out/model.bitface --pairs pairs.csv --root images/ --all-pairs --far 1e-3,1e-4,1e-5

    bitface calibrate out/model.bitface --images people/ --teacher net.onnx

    bitface calibrate out/model.bitface --protocol suite.yaml:IJB-C --far 1e-4
    """
    from bitface.data.face_source import FaceSource
    from bitface.jobs.calibrate import DEFAULT_FARS, CalibrateRequest, calibrate_model

    source = FaceSource(images or (), labels=labels, allow_skipped=allow_skipped)
    request = CalibrateRequest(
        model, pairs, root, source, all_pairs, fars_of(far, DEFAULT_FARS), teacher, preprocess, data,
        engine_of(engine), threads, flip, seed, out, size, protocol, embedding, extrapolate,
    )  # fmt: skip
    with progress(dry_run) as steps:
        result = calibrate_model(request, steps)
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    output.print(engine_line(result["engine"]))
    table = table_of("FAR", "threshold", "95 % interval", "on other people", "TAR")
    for one in result["thresholds"]:
        bounds, expected, tar = one["interval"], one["expected"], one["tar_interval"]
        table.add_row(
            f"{one['far']:g}",
            f"{one['threshold']:.4f}{' (extrapolated)' if 'extrapolated' in one else ''}",
            f"{bounds['low']:.4f} – {bounds['high']:.4f}" if bounds else "",
            f"{expected['low']:.2g} – {expected['high']:.2g}",
            f"{one['tar']:.2%} ({tar['low']:.2%} – {tar['high']:.2%})" if tar else "",
        )
    output.print(table)
    more_ways = "" if extrapolate else " (--extrapolate models the tail of the scores)"
    for one in result["unsupported"]:
        more = f", which about {one['images']:,} images form (with as many of each person)" if one["images"] else ""
        output.print(
            f"no threshold for FAR {one['far']:g}: it needs {one['pairs']:,} impostor pairs{more}; there are "
            f"{one['impostor']:,}{more_ways}",
            soft_wrap=True,
        )
    for one in result["teacher"]:
        frr = "" if one["tar"] is None else f" and FRR {1 - one['tar']:.2%}"
        output.print(
            f"the teacher's threshold for FAR {one['target']:g}, {one['threshold']:.4f}, has FAR {one['far']:.3g}{frr} "
            "on this model",
            soft_wrap=True,
        )
    output.print(result["model"], markup=False, soft_wrap=True)
