"""`bitface quantize`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface.cli.console import output, progress, remarks
from bitface.errors import UsageError
from bitface.jobs import QuantizeRequest, quantize_model
from bitface.quant import BitPlan, Calibration
from bitface.quant.observers import OBSERVERS


def quantize(
    model: Annotated[
        Path, typer.Argument(help="A face network: .onnx, or .pt, .pth, .safetensors of a known backbone.")
    ],
    images: Annotated[list[Path], typer.Option(help="A folder of aligned face crops; may be repeated.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    bits: Annotated[str, typer.Option(help="w8a8, w6a6, w4a8, w4a4, w8a32, … or a plan file (.yaml).")] = "w8a8",
    first: Annotated[
        str | None, typer.Option(help="Bits of the first layer (default 8; 'plan': like the rest).")
    ] = None,
    last: Annotated[str | None, typer.Option(help="Bits of the last layer (default 8; 'plan': like the rest).")] = None,
    method: Annotated[str, typer.Option(help="ptq: post-training quantization.")] = "ptq",
    image_list: Annotated[Path | None, typer.Option(help="Use only these images: one relative path per line.")] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Faces that calibrate (default 512).")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="rgb-127.5-127.5, rgb-raw, rgb-imagenet, bgr-…, or COLOUR-MEAN-STD.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which faces are chosen.")] = 0,
    observer: Annotated[
        str, typer.Option(help="How ranges are found: mse, minmax, moving-average, percentile.")
    ] = "mse",
    bias_correction: Annotated[bool, typer.Option(help="Take the mean error out of the biases.")] = True,
    equalization: Annotated[bool, typer.Option(help="Equalize channels before depthwise convolutions.")] = True,
    allow_skipped: Annotated[
        bool, typer.Option("--allow-skipped", help="Accept more than 1 % unusable images.")
    ] = False,
) -> None:
    """Make an integer network from a float one and a few hundred unlabelled faces.

    Writes model.bitface, model.openvino.onnx, model.onnxruntime.onnx, result.json and report.html to OUT.

    bitface quantize net.onnx --images crops/ --bits w8a8 --out out/
    """
    if method != "ptq":
        raise UsageError(f"unknown method '{method}': this version has ptq")
    if observer not in OBSERVERS:
        raise UsageError(f"unknown observer '{observer}': use one of {', '.join(OBSERVERS)}")
    calibration = Calibration(observer, equalization, bias_correction)
    request = QuantizeRequest(
        model,
        images,
        out,
        BitPlan.parse(bits).with_edges(first, last),
        image_list,
        max_images,
        preprocess,
        seed,
        allow_skipped,
        calibration=calibration,
    )
    with progress() as steps:
        result = quantize_model(request, steps)
    remarks(result["notes"], result["warnings"])
    agreed = result["agreement"]["openvino"]
    output.print(
        f"{result['bytes']['model.bitface']:,} bytes, {result['compression']:.2f}x smaller than the float32 weights\n"
        f"agreement with the teacher on {agreed['count']} held-out faces: mean cosine {agreed['mean']:.4f}, "
        f"1st percentile {agreed['p01']:.4f}, minimum {agreed['minimum']:.4f}\n"
        f"{len(result['unquantized'])} tensors stay in floating point (listed in result.json)\n"
        f"{out / 'report.html'}",
        markup=False,
        soft_wrap=True,
    )
