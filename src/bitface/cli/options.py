"""Options that several commands have, each with one meaning and one text."""

import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitface.cli.paths import check_paths, to_folder, to_json
from bitface.preprocess import Size
from bitface.progress import voice

if TYPE_CHECKING:
    from bitface.data.face_source import FaceSource


# Columns of an example, without its margin and the backslash.
_EXAMPLE = 75


def _quiet(value: bool) -> bool:
    voice.quiet = voice.quiet or value
    return value


def _verbose(value: bool) -> bool:
    voice.verbose = voice.verbose or value
    return value


QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", callback=_quiet, help="Neither progress nor notes; warnings stay.")
]
VerboseOption = Annotated[
    bool, typer.Option("-v", "--verbose", callback=_verbose, help="Each step with its time; of failures, where.")
]


def spoken(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose paths are checked before it runs, and that takes -q and -v, too, which are the program's own."""
    signature = inspect.signature(command)

    @functools.wraps(command)
    def run(*arguments: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        check_paths(command, signature.bind(*arguments, **options).arguments)
        command(*arguments, **options)

    added = {"quiet": QuietOption, "verbose": VerboseOption}
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in added.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, **added}
    run.__doc__ = _unbroken(inspect.getdoc(command) or "")
    return run


def _unbroken(text: str) -> str:
    """A help whose examples can be copied from a terminal of 80 columns: a shell goes on after a backslash."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith(("bitface ", "torchrun ")):
            lines = textwrap.wrap(
                paragraph, _EXAMPLE, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            )
            paragraph = "\b\n" + " \\\n".join(lines)
        paragraphs.append(paragraph)
    return "\n\n".join(paragraphs)


def source_of(
    images: Sequence[Path] | None,
    image_list: Path | None = None,
    max_images: int | None = None,
    labels: str | None = None,
    allow_skipped: bool = False,
    workers: int | None = None,
) -> "FaceSource":
    """What the options of a command say about faces."""
    from bitface.data.face_source import FaceSource  # not before a command runs

    return FaceSource(images or (), image_list, max_images, labels, allow_skipped, workers)


ModelArgument = Annotated[
    Path, typer.Argument(help="A face network: .onnx, or .pt, .pth, .ckpt, .bin, .safetensors of a known backbone.")
]
ImagesOption = Annotated[
    list[Path],
    typer.Option(help="Aligned crops: a folder, a .tar, rec:, tar: or parquet:PATH, synthetic:N, …; may be repeated."),
]
OutOption = Annotated[Path, typer.Option(callback=to_folder, help="The folder to write to.")]
JsonOption = Annotated[
    Path | None, typer.Option("--json", callback=to_json, help="Write the result to this file; -: to standard output.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over the result that OUT holds.")]
ProtocolOption = Annotated[
    str | None,
    typer.Option(metavar="FILE[:NAME]", help="Any protocol in the place of pairs: a YAML file, or one of a suite's."),
]
SkipOption = Annotated[bool, typer.Option("--allow-skipped", help="Accept more than 1 % unusable images.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the training that OUT holds.")]
ListOption = Annotated[Path | None, typer.Option(help="Use only these images: one relative path per line.")]
PreprocessOption = Annotated[
    str | None, typer.Option(help="rgb-127.5-127.5, rgb-raw, rgb-imagenet, bgr-…, or COLOUR-MEAN-STD.")
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine", "--target", help="openvino, onnxruntime, torch, …; default: the fastest that is exact on this CPU."
    ),
]
FaceOption = Annotated[
    str,
    typer.Option(metavar="WHICH", help="Of several faces in a photograph: largest, all, or a number from the left."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only check what is given, and say what would be done.")]
TargetsOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="NAME,…",
        help="What is written beside the artifact, and what the plan has to keep to (default: openvino,onnxruntime).",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", metavar="NAME", help="Of an ONNX file that has several: which is the embedding."),
]
KeyOption = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="The key of an encrypted gallery (see bitface key).")
]
SizeOption = Annotated[
    Size | None,
    typer.Option(
        parser=Size.parse,
        metavar="PIXELS",
        help="Of the image, for float networks that leave it free: 160, or 112x96 (HEIGHTxWIDTH).",
    ),
]
EpochsOption = Annotated[float | None, typer.Option(min=0.01, help="Passes over the faces.")]
MinutesOption = Annotated[float | None, typer.Option(min=0.01, help="As many epochs as fit into this time.")]
BatchOption = Annotated[int | None, typer.Option(min=2, help="Images in a step of the training.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Where it trains: cpu, cuda, cuda:1, mps; auto (the default): a GPU where there is one."
    ),
]
LogOption = Annotated[
    str | None,
    # torchrun takes --log for one of its own, which it can't tell which.
    typer.Option(
        "--log", "--track", metavar="NAME", help="Keep a training's progress: jsonl, tensorboard, wandb or mlflow."
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(help="Who is on the images: 'folder', or what a packed set says, or a CSV with path,label."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read images which don't fit into memory (0: none; default: up to 4)."),
]
LossOption = Annotated[
    str | None,
    typer.Option(help="feature, relational, ekd, ekd-shift, … or several with weights: feature,relational=0.5."),
]
