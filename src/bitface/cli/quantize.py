"""`bitface quantize` and `bitface run`"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitface.cli.console import engine_line, output, progress, remarks, seeds_of, write_json
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
    LogOption,
    MinutesOption,
    ModelArgument,
    OutOption,
    OutputOption,
    PreprocessOption,
    ResumeOption,
    SizeOption,
    SkipOption,
    TargetsOption,
    WorkersOption,
    source_of,
)
from bitface.cli.paths import to_folder
from bitface.errors import UsageError
from bitface.limits import LARGEST_SEED

if TYPE_CHECKING:
    from bitface.jobs import QuantizeRequest


def quantize(
    model: ModelArgument,
    images: ImagesOption,
    out: OutOption,
    bits: Annotated[
        str | None,
        typer.Option(help="w8a8, w6a6, w4a4, w8a32, … or a plan file (.yaml); default: w8a8, or the --recipe's."),
    ] = None,
    first: Annotated[
        str | None, typer.Option(help="Bits of the first layer (default 8; 'plan': like the rest).")
    ] = None,
    last: Annotated[str | None, typer.Option(help="Bits of the last layer (default 8; 'plan': like the rest).")] = None,
    method: Annotated[
        str, typer.Option(help="ptq: post-training quantization; qat: quantization-aware training.")
    ] = "ptq",
    effort: Annotated[
        str | None, typer.Option(help="ptq: fast (ranges; the default), balanced or max (units rebuilt, minutes).")
    ] = None,
    image_list: ListOption = None,
    max_images: Annotated[
        int | None, typer.Option(min=1, help="Faces to learn from (default 512, 1024 with effort, all for qat).")
    ] = None,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="Which faces are chosen, and every draw of a training (default 0, or the --recipe's).",
        ),
    ] = None,
    observer: Annotated[
        str | None,
        typer.Option(help="ptq: how ranges are found: mse (the default), minmax, moving-average, percentile."),
    ] = None,
    bias_correction: Annotated[
        bool | None, typer.Option(help="ptq: take the mean error out of the biases (default: yes).")
    ] = None,
    equalization: Annotated[
        bool | None, typer.Option(help="ptq: equalize channels before depthwise convolutions (default: yes).")
    ] = None,
    rotate: Annotated[
        str | None,
        typer.Option(help="ptq: turn streams and attention: auto (below 8 bits, the default), off, hadamard, learned."),
    ] = None,
    recipe_: Annotated[
        str | None, typer.Option("--recipe", help="qat: a recipe's name or file (default: our best for the bits).")
    ] = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    batch: BatchOption = None,
    labels: LabelsOption = None,
    target: TargetsOption = None,
    device: DeviceOption = None,
    log: LogOption = None,
    resume: ResumeOption = False,
    allow_skipped: SkipOption = False,
    workers: WorkersOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
) -> None:
    """Make an integer network from a float one and unlabelled faces: a few hundred (ptq) or some thousand (qat).

    Writes model.bitface, a file for each --target such as model.openvino.onnx, result.json and report.html to OUT.

    bitface quantize net.onnx --images crops/ --bits w8a8 --out out/

    bitface quantize net.onnx --images crops/ --bits w4a4 --method qat --minutes 20 --out out/
    """
    from bitface.inputs import recipes
    from bitface.jobs.quantize import request_of
    from bitface.quant import BitPlan, Calibration, reconstruct
    from bitface.targets.registry import listed

    if method not in ("ptq", "qat"):
        raise UsageError(f"unknown method '{method}': use ptq or qat")
    if effort and method == "qat":
        raise UsageError("--effort is for --method ptq; a training takes --epochs or --minutes")
    flags = {"observer": observer, "equalization": equalization, "rotate": rotate, "bias_correction": bias_correction}
    settings: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if settings and method == "qat":
        raise UsageError(
            f"--{next(iter(settings)).replace('_', '-')} is for --method ptq; a recipe has a 'calibration'"
        )
    options = recipes.Options(
        model, source_of(images, image_list, max_images, labels, allow_skipped, workers), out,
        None if bits is None else BitPlan.parse(bits), preprocess, size, seed, epochs, minutes,
        listed(target) if target else None, embedding, device, batch,
    )  # fmt: skip
    if method == "qat":
        recipe = recipes.for_training(recipe_, options.plan or BitPlan())
    else:
        training_only = {"--recipe": recipe_, "--epochs": epochs, "--minutes": minutes, "--batch": batch}
        for option, value in {**training_only, "--labels": labels, "--resume": resume, "--log": log}.items():
            if value:
                raise UsageError(f"{option} is for --method qat")
        calibration = Calibration(**settings, reconstruction=reconstruct.effort(effort or "fast"))
        recipe = recipes.Recipe("post-training", method=None, calibration=calibration)
    request = request_of(recipes.merged(recipe, options), resume, force, log)
    _carry_out(replace(request, plan=request.plan.with_edges(first, last)), dry_run, json)


def _listed(show: bool) -> None:
    if show:
        from bitface.inputs import recipes

        for name in recipes.names():
            about = " ".join(recipes.read(name).about.split())
            output.print(f"{name}: {about.partition('. ')[0].rstrip('.')}", markup=False, soft_wrap=True)
        raise typer.Exit


def run(
    recipe_: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's file, or the name of one of ours.")],
    model: Annotated[Path | None, typer.Argument(help="A face network; where the recipe names none.")] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Aligned crops: a folder, rec:FOLDER, …; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(callback=to_folder, help="The folder to write to.")] = None,
    image_list: ListOption = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Faces to learn from.")] = None,
    preprocess: PreprocessOption = None,
    size: SizeOption = None,
    embedding: OutputOption = None,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Another seed than the recipe's.")] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="0,1,2", help="One after the other, each into OUT/seed-N; mean ± sd in OUT/seeds.md, .tex."
        ),
    ] = None,
    epochs: EpochsOption = None,
    minutes: MinutesOption = None,
    batch: BatchOption = None,
    labels: LabelsOption = None,
    target: TargetsOption = None,
    device: DeviceOption = None,
    log: LogOption = None,
    resume: ResumeOption = False,
    allow_skipped: SkipOption = False,
    workers: WorkersOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    json: JsonOption = None,
    list_: Annotated[
        bool, typer.Option("--list", callback=_listed, is_eager=True, help="The recipes that come with the program.")
    ] = False,
) -> None:
    """Quantize, or train a teacher, as a recipe says. Options replace what the recipe says of model, faces and time.

    bitface run recipes/quantface-w6a6-real.yaml net.onnx --images crops/ --out out/

    torchrun --nproc_per_node 8 -m bitface run rcm-3bit net.onnx --images rec:ms1mv2/ --out out/
    """
    from bitface.inputs import recipes
    from bitface.jobs import pretrain
    from bitface.jobs.pretrain import training_of
    from bitface.jobs.quantize import request_of
    from bitface.targets.registry import listed

    source = source_of(images, image_list, max_images, labels, allow_skipped, workers)
    targets = listed(target) if target else None
    options = recipes.Options(
        model, source, out, None, preprocess, size, seed, epochs, minutes, targets, embedding, device, batch
    )
    recipe = recipes.read(recipe_)
    if isinstance(recipe, recipes.Recipe):
        for name, value in {"resume": resume, "log": log}.items():
            if value:
                recipe.check_trains(name)
    if seeds is not None:
        if isinstance(recipe, recipes.Pretraining) or seed is not None or out is None:
            raise UsageError("--seeds is for quantizations, takes the place of --seed, and needs --out")
        several = recipe

        def request_for(number: int, folder: Path) -> "QuantizeRequest":
            return request_of(recipes.merged(several, replace(options, seed=number, out=folder)), resume, force, log)

        _carry_out_each(request_for, seeds_of(seeds), out, dry_run)
        return
    if isinstance(recipe, recipes.Recipe):
        _carry_out(request_of(recipes.merged(recipe, options), resume, force, log), dry_run, json)
        return
    request = training_of(recipes.merged(recipe, options), resume, force, log)
    with progress(dry_run) as steps:
        result = pretrain(request, steps)
    if not result:  # another rank has it
        return
    write_json(json, result)
    remarks(result["notes"], [])
    output.print(str(request.out / "model.onnx"), markup=False, soft_wrap=True)


def _foretell(request: "QuantizeRequest") -> None:
    from bitface.jobs.runs.forecast import forecast

    with progress() as steps:
        told = forecast(request, steps)
    output.print(str(told), markup=False, soft_wrap=True)


def _carry_out_each(
    request: "Callable[[int, Path], QuantizeRequest]", seeds: list[int], out: Path, dry_run: bool
) -> None:
    from bitface.jobs.runs.seeds import quantize_seeds

    with progress(dry_run) as steps:
        seen = quantize_seeds(request, seeds, out, steps)
    if seen:
        output.print(f"{seen.markdown()}{out / 'seeds.md'}", markup=False, soft_wrap=True)


def _carry_out(request: "QuantizeRequest", dry_run: bool, json: Path | None) -> None:
    from bitface.jobs import quantize_model
    from bitface.jobs.quantize import beforehand
    from bitface.results.quantization import agreed

    if dry_run and request.method:
        _foretell(request)
        return
    remarks([], beforehand(request))
    with progress(dry_run) as steps:
        result = quantize_model(request, steps)
    if not result:  # another rank has it
        return
    write_json(json, result)
    remarks(result["notes"], result["warnings"])
    engine, figures = agreed(result)
    history, left = result["training"], len(result["unquantized"])
    training = f"{history['steps']} steps at {history['images_per_second']:.0f} images/s\n" if history else ""
    output.print(
        f"{training}"
        f"{result['bytes']['model.bitface']:,} bytes, {result['compression']:.2f}x smaller than the float32 weights\n"
        f"agreement with the teacher on {figures['count']} held-out faces: mean cosine {figures['mean']:.4f}, "
        f"1st percentile {figures['p01']:.4f}, minimum {figures['minimum']:.4f}, {engine_line(engine)}\n"
        f"{left} tensor{'s' * (left != 1)} in floating point (listed in result.json)\n"
        f"{request.out / 'report.html'}",
        markup=False,
        soft_wrap=True,
    )
