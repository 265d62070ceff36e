"""`bitface distill`"""

from typing import Annotated

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
from bitface.cli.prune import show
from bitface.limits import LARGEST_SEED


def distill(
    teacher: ModelArgument,
    student: Annotated[
        str,
        typer.Option(help="mobilefacenet, vit_t, …, with a width after a colon: mobilefacenet:0.5, vit_t:0.5,depth=4."),
    ],
    images: ImagesOption,
    out: OutOption,
    loss: LossOption = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    batch: BatchOption = None,
    embedding_size: Annotated[int | None, typer.Option(min=2, help="Of the student (default: the teacher's).")] = None,
    from_teacher: Annotated[
        bool,
        typer.Option("--from-teacher", help="Begin with the teacher's weights of the same name and shape."),
    ] = False,
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
    """Train a smaller network to give a teacher's embeddings; unlabelled faces are enough, the more the better.

    Writes model.onnx, a float network that quantize, evaluate and bench take, and result.json to OUT. Ctrl-C stops the
    training after a step; --resume goes on.

    bitface distill net.onnx --student mobilefacenet:0.5 --images crops/ --minutes 60 --out half/
    """
    from bitface.inputs.training import check_length, settings
    from bitface.jobs.distill import SCHOOLING, DistillRequest, distill_model

    check_length(epochs, minutes)
    request = DistillRequest(
        model=teacher, student=student,
        source=source_of(images, image_list, max_images, labels, allow_skipped, workers), out=out,
        training=settings(SCHOOLING, loss, epochs, seed, device, batch),
        minutes=minutes, embedding_size=embedding_size, from_teacher=from_teacher,
        preprocess=preprocess, seed=seed, resume=resume, size=size, force=force, output=embedding,
    )  # fmt: skip
    with progress(dry_run) as steps:
        result = distill_model(request, steps)
    if not result:  # another rank has it
        return
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    show(result)
    output.print(str(out / "model.onnx"), markup=False, soft_wrap=True)
