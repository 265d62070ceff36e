"""`bitface prune`"""

from typing import Annotated, Any

import typer

from bitface.cli.console import output, progress, remarks, write_json
from bitface.cli.options import (
    BatchOption,
    DeviceOption,
    DryRunOption,
    EpochsOption,
    ForceOption,
    ImagesOption,
    JsonOption,
    LabelsOption,
    ListOption,
    LossOption,
    MinutesOption,
    ModelArgument,
    OutOption,
    OutputOption,
    PreprocessOption,
    ResumeOption,
    SizeOption,
    SkipOption,
    WorkersOption,
    source_of,
)
from bitface.limits import LARGEST_SEED


def prune(
    model: ModelArgument,
    images: ImagesOption,
    out: OutOption,
    ratio: Annotated[float, typer.Option(help="Share of the parameters to remove, above 0 and below 1.")],
    importance: Annotated[
        str | None,
        typer.Option(help="taylor (the default): how far the embedding moves; magnitude: the size of the weights."),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="global (the default): the least important channels anywhere; uniform: as many everywhere."),
    ] = None,
    round_to: Annotated[int | None, typer.Option(help="Channels are multiples of this (default 8).")] = None,
    loss: LossOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    batch: BatchOption = None,
    image_list: ListOption = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Faces to learn from (default: all).")] = None,
    labels: LabelsOption = None,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Which faces are chosen, and every draw of the training.")
    ] = 0,
    device: DeviceOption = None,
    resume: ResumeOption = False,
    allow_skipped: SkipOption = False,
    workers: WorkersOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Take channels out of a network, and let it learn from itself as it was; unlabelled faces are enough.

    Writes model.onnx, a float network that quantize, evaluate and bench take, and result.json to OUT. Ctrl-C stops the
    training after a step; --resume goes on.

    bitface prune net.onnx --ratio 0.2 --images crops/ --out pruned/
    """
    from bitface.inputs.training import check_length, settings
    from bitface.jobs.prune import RECOVERY, PruneRequest, prune_model
    from bitface.prune import Pruning

    values: dict[str, Any] = {"importance": importance, "scope": scope, "round_to": round_to}
    options = {key: value for key, value in values.items() if value is not None}
    check_length(epochs, minutes)
    request = PruneRequest(
        model=model, source=source_of(images, image_list, max_images, labels, allow_skipped, workers), out=out,
         pruning=Pruning(ratio, **options, seed=seed),
        training=settings(RECOVERY, loss, epochs, seed, device, batch), minutes=minutes,
        preprocess=preprocess, seed=seed, resume=resume, size=size, force=force, output=embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        result = prune_model(request, steps)
    if not result:  # another rank has it
        return
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    shares = result["removed"]
    output.print(
        f"{shares['parameters']:.1%} of the parameters, {shares['macs']:.1%} of the multiply-adds and "
        f"{shares['channels']:.1%} of the channels removed",
        markup=False,
        soft_wrap=True,
    )
    show(result)
    output.print(str(out / "model.onnx"), markup=False, soft_wrap=True)


def show(result: dict[str, Any]) -> None:
    """Sizes before and after, and how a student agrees with its teacher."""
    before, after, agreed = result["before"], result["after"], result["agreement"]
    cosine = f"mean cosine {agreed['cosine']['mean']:.4f}, " if agreed["cosine"] else ""
    output.print(
        f"{before['parameters']:,} to {after['parameters']:,} parameters, {before['macs'] / 1e6:,.1f} to "
        f"{after['macs'] / 1e6:,.1f} M multiply-adds, {before['bytes']:,} to {after['bytes']:,} bytes\n"
        f"agreement with the teacher on {result['faces']['held_out']} held-out faces: {cosine}correlation of "
        f"the cosines of pairs {agreed['likeness']:.4f}",
        markup=False,
        soft_wrap=True,
    )
