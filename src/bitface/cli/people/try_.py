"""`bitface try`"""

from pathlib import Path
from typing import Annotated

import typer

from bitface import signals
from bitface.cli.console import engine_of, output, remarks, write_json
from bitface.cli.options import EngineOption, JsonOption, SizeOption


def try_(
    model: Annotated[Path, typer.Argument(help="A .bitface artifact.")],
    float_model: Annotated[
        Path | None, typer.Option("--float", metavar="NET", help="The float network that it was made from.")
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(help="The false accept rate whose stored threshold decides (default: the strictest)."),
    ] = None,
    engine: EngineOption = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine.")] = None,
    preprocess: Annotated[str | None, typer.Option(help="Of a float network that doesn't say it itself.")] = None,
    size: SizeOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page (default: any that is free).")] = 0,
    json: JsonOption = None,
) -> None:
    """A page on which two photographs, or a camera, are put to the float network and the integer one side by side.

    It is there for this machine alone, under an address that nobody can guess, until Ctrl-C; nothing is stored.

    bitface try out/model.bitface --float net.onnx
    """
    from bitface.jobs.people.try_ import TryRequest, serve_trial

    request = TryRequest(model, float_model, far, engine_of(engine), threads, preprocess, size, port)
    with serve_trial(request) as server:
        write_json(json, {"url": server.url, **server.trial.facts})
        remarks(server.trial.notes, server.trial.warnings)
        try:
            # Not by rich: interrupted in a print, it would say the line once more with the next.
            typer.echo(f"{server.url}  (Ctrl-C ends it)", err=output.stderr)
            server.serve_forever()
        except KeyboardInterrupt:
            if not signals.by_ctrl_c():
                raise
            typer.echo("ended; nothing was stored", err=output.stderr)
