"""The program `bitface`: its commands, and how their failures end."""

import errno
import os
import sys
from typing import NoReturn

import typer

import bitface
from bitface.cli import (
    analyse,
    assets,
    bench,
    cache,
    calibrate,
    compare,
    data,
    demo,
    distill,
    evaluate,
    export,
    inspect,
    prune,
    quantize,
    report,
    search,
    sensitivity,
    synth,
)
from bitface.cli.console import output
from bitface.cli.people import enroll, identify, verify
from bitface.errors import BitfaceError, missing, on_command_line
from bitface.progress import errors

# Of a disk, or of a user's share of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Where a rank that isn't the first would be heard.
_voice: int | None = None

app = typer.Typer(
    help="Makes face-recognition networks small and fast without losing the people they recognise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"bitface {bitface.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="The version."),
) -> None:
    context.with_resource(on_command_line())


app.command("inspect")(inspect.inspect)
app.command("quantize")(quantize.quantize)
app.command("run")(quantize.run)
app.command("prune")(prune.prune)
app.command("distill")(distill.distill)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("analyse")(analyse.analyse)
app.command("calibrate")(calibrate.calibrate)
app.command("verify")(verify.verify)
app.command("enroll")(enroll.enroll)
app.command("identify")(identify.identify)
app.command("bench")(bench.bench)
app.command("sensitivity")(sensitivity.sensitivity)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("synth")(synth.synth)
app.add_typer(data.app, name="data", no_args_is_help=True)
app.command("assets")(assets.assets)
app.command("cache")(cache.cache)
app.command("demo")(demo.demo)


def main() -> None:
    """Runs the program. Exit codes: 0 done, 2 wrong use, 1 anything else; a failure is one line on stderr."""
    output.stderr = False  # an earlier call in this process may have had --json -
    try:
        if int(os.environ.get("WORLD_SIZE") or 1) > 1:
            _join()
        app()
    except BitfaceError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 1)
    except BrokenPipeError:
        _forget_output()  # the reader of a pipe has gone: nothing to say
        sys.exit(1)
    except MemoryError:
        _fail("out of memory; use fewer images or a smaller batch", 1)
    except OSError as error:
        if error.errno not in _FULL:
            _unexpected(error)
        _forget_output()
        _fail(
            f"{error.filename or 'standard output'} can't be written ({error.strerror}); make room, or write elsewhere",
            1,
        )
    except ModuleNotFoundError as error:
        if reason := missing(error):
            _fail(str(reason), 1)
        _unexpected(error)
    except Exception as error:
        _unexpected(error)


def _join() -> None:
    """Becomes one of torchrun's ranks, of which the first alone is heard."""
    global _voice
    from bitface import ranks

    ranks.begin()
    if not ranks.is_first() and not os.environ.get("BITFACE_DEBUG"):
        _voice = os.dup(sys.stderr.fileno())
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(silence, stream.fileno())


def _heard() -> bool:
    """Whether this process is to say why it failed: of several ranks, the first that did."""
    if "bitface.ranks" not in sys.modules:
        return True
    from bitface import ranks

    if not ranks.fails_first():
        return False
    if _voice is not None:
        os.dup2(_voice, sys.stderr.fileno())
    return True


def _unexpected(error: Exception) -> NoReturn:
    if os.environ.get("BITFACE_DEBUG"):
        raise error
    first = (str(error).strip().splitlines() or [""])[0]
    _fail(f"unexpected {type(error).__name__}: {first} (run with BITFACE_DEBUG=1 for details and report it)", 1)


def _forget_output() -> None:
    """What standard output still holds would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> NoReturn:
    if _heard():
        errors.print("error:", style="bold red", end=" ")
        errors.print(" ".join(message.split()), markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)
