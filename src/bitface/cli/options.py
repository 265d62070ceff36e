"""Options that several commands have, each with one meaning and one text."""

from pathlib import Path
from typing import Annotated

import typer

from bitface.preprocess import Size

ModelArgument = Annotated[
    Path, typer.Argument(help="A face network: .onnx, or .pt, .pth, .safetensors of a known backbone.")
]
ImagesOption = Annotated[
    list[Path],
    typer.Option(help="Aligned crops (a folder, a .tar), synthetic:N, generator:FILE:N or none; may be repeated."),
]
OutOption = Annotated[Path, typer.Option(help="The folder to write to.")]
SkipOption = Annotated[bool, typer.Option("--allow-skipped", help="Accept more than 1 % unusable images.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the training that OUT holds.")]
ListOption = Annotated[Path | None, typer.Option(help="Use only these images: one relative path per line.")]
PreprocessOption = Annotated[
    str | None, typer.Option(help="rgb-127.5-127.5, rgb-raw, rgb-imagenet, bgr-…, or COLOUR-MEAN-STD.")
]
EngineOption = Annotated[
    str | None,
    typer.Option(help="openvino, onnxruntime or torch; default: the fastest that is exact on this CPU."),
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
LabelsOption = Annotated[
    str | None, typer.Option(help="Who is on the images: 'folder', or a CSV file with path,label.")
]
LossOption = Annotated[
    str | None,
    typer.Option(help="feature, relational, ekd, ekd-shift, … or several with weights: feature,relational=0.5."),
]
