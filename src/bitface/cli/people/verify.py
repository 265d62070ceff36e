"""`bitface verify`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bitface.cli.console import engine_line, engine_of, exits, output, progress, remarks, write_json
from bitface.cli.options import EngineOption, JsonOption
from bitface.cli.paths import to_file
from bitface.errors import UsageError

SAME, ANOTHER, UNDECIDED = 0, 1, 3


def verify(
    first: Annotated[Path, typer.Argument(metavar="A", help="A photograph, or an aligned crop.")],
    model: Annotated[Path, typer.Option(help="A .bitface artifact with thresholds (see bitface calibrate).")],
    far: Annotated[float, typer.Option(help="The false accept rate whose threshold decides.")],
    second: Annotated[Path | None, typer.Argument(metavar="B", help="Another one.")] = None,
    face: Annotated[
        str,
        typer.Option(
            metavar="WHICH", help="Of several faces: largest, all, or a number from the left; 2,largest: of A, of B."
        ),
    ] = "largest",
    camera: Annotated[
        str | None,
        typer.Option(metavar="N|FILE", help="In the place of B: a camera's number (0), or a video file."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="Of the camera or the video; then it ends.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(callback=to_file, help="Of a camera or video: a video file with the decisions drawn on it."),
    ] = None,
    engine: EngineOption = None,
    exit_zero: Annotated[
        bool, typer.Option("--exit-zero", help="Exit code 0 for another person, too; read --json.")
    ] = False,
    json: JsonOption = None,
) -> None:
    """Say whether two photographs show one person. Photographs that aren't crops of a face are aligned.

    Exit code: 0 the same person, 1 another one, 3 it can't be told (no face, a file that can't be read), 2 wrong use.

    bitface verify a.jpg b.jpg --model out/model.bitface --far 1e-4

    bitface verify a.jpg --camera 0 --model out/model.bitface --far 1e-4
    """
    exits.failure = UNDECIDED
    if (second is None) == (camera is None):
        raise UsageError("name a second photograph, or --camera")
    if camera is None:
        if seconds or out:
            raise UsageError("--seconds and --out are for --camera")
        assert second is not None
        answer = _of_photographs(first, second, model, far, face, engine_of(engine))
    else:
        answer = _of_frames(first, camera, model, far, face, engine_of(engine), seconds, out)
    write_json(json, answer)
    remarks(answer["notes"], answer["warnings"])
    expected = answer.get("expected")
    people = "extrapolated, really" if answer.get("extrapolated") else "on other people"
    elsewhere = f" ({people} {expected['low']:.2g} to {expected['high']:.2g})" if expected else ""
    seen = "" if camera is None else f" in {answer['frames_same']} of {answer['frames_judged']} frames"
    output.print(
        f"{'same' if answer['same'] else 'different'}{seen}: similarity {answer['similarity']:.4f}, threshold "
        f"{answer['threshold']:.4f} for FAR {far:g}{elsewhere}, {engine_line(answer['engine'])}",
        markup=False,
        soft_wrap=True,
    )
    if not answer["same"] and not exit_zero:
        raise typer.Exit(ANOTHER)


def _of_photographs(
    first: Path, second: Path, model: Path, far: float, face: str, engine: str | None
) -> dict[str, Any]:
    from bitface.jobs.people.verify import verify_images

    return verify_images(first, second, model, far, face, engine)


def _of_frames(
    first: Path,
    camera: str,
    model: Path,
    far: float,
    face: str,
    engine: str | None,
    seconds: float | None,
    out: Path | None,
) -> dict[str, Any]:
    from bitface.jobs.people.camera import CameraRequest, verify_camera

    with progress() as steps:
        return verify_camera(CameraRequest(first, camera, model, far, face, engine, seconds, out), steps)
