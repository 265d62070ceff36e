"""The program `bitface`: its commands, and how their failures end."""

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

import bitface
from bitface import signals
from bitface.cli import (
    analyse,
    assets,
    bench,
    cache,
    calibrate,
    compare,
    console,
    data,
    demo,
    distill,
    evaluate,
    export,
    inspect,
    prune,
    quantize,
    report,
    reproduce,
    search,
    sensitivity,
    synth,
)
from bitface.cli.console import exits, output, remarks
from bitface.cli.options import QuietOption, VerboseOption, spoken
from bitface.cli.paths import check_given
from bitface.cli.people import align, embed, enroll, gallery, identify, try_, verify
from bitface.errors import (
    BitfaceError,
    BitfaceWarning,
    Interrupted,
    UsageError,
    lacks_memory,
    missing,
    on_command_line,
    one_line,
)
from bitface.progress import errors, voice
from bitface.terminal import escaped

# Of a disk, a user's share of it, or the largest file that may be; and of a disk that is read alone.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NO_FILES = (errno.EMFILE, errno.ENFILE)
# A name that is too long, goes in circles, leads through a file, or that others keep to themselves.
_NOT_REACHED = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM)
_LONGEST_NAME = 100
_INTERRUPTED = 130
# Commands that several ranks share; any other would be done by each of them, over what another one writes.
_DIVIDED = ("run", "quantize", "prune", "distill", "evaluate", "embed")
# Where a rank that isn't the first would be heard.
_voice: int | None = None


class _Commands(TyperGroup):
    """The commands, whose complaints about options repeat what was typed, or what a shell made of `*`."""

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except Exception as error:
            # Typer's own, of click, which is a package of its own or a part of it.
            if type(error).__module__.startswith(("typer", "click")) and hasattr(error, "message"):
                error.message = escaped(error.message)
            raise


# Help without frames: it is read at any width, and cuts no name of an option.
app = typer.Typer(
    cls=_Commands,
    help="Makes face-recognition networks small and fast without losing the people they recognise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Options that had another name before: of every command that has the new one.
RENAMED = {
    "sensitivity": {"--pairs-root": "--root", "--faces": "--held-out", "--calibration-faces": "--max-images"},
    "search": {"--faces": "--held-out", "--calibration-faces": "--max-images"},
}


def _version(show: bool) -> None:
    if show:
        typer.echo(f"bitface {bitface.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="The version."),
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    context.with_resource(on_command_line(_options_of(context.command, context.invoked_subcommand)))
    if _ranks() > 1 and context.invoked_subcommand not in _DIVIDED:
        raise UsageError(f"{context.invoked_subcommand} isn't divided among ranks; run it without torchrun")


def _options_of(group: Any, name: str | None) -> set[str]:
    """What a command can be told, without the dashes; of a group of commands, what any of them can."""
    command = group.commands.get(name)
    commands = [command, *getattr(command, "commands", {}).values()] if command else []
    return {word.lstrip("-") for one in commands for part in one.params for word in (*part.opts, *part.secondary_opts)}


# Each with what it does in the width of a line.
COMMANDS: dict[Callable[..., None], str] = {
    inspect.inspect: "What is in a network; is its preprocessing right?",
    quantize.quantize: "An integer network from a float one and unlabelled faces.",
    quantize.run: "Quantize, or train a teacher, as a recipe says.",
    reproduce.reproduce: "A paper's table by our recipes, its figures beside ours.",
    prune.prune: "Take channels out of a network.",
    distill.distill: "Train a smaller network to answer like a larger one.",
    compare.compare: "Make and measure several smaller versions of a network.",
    evaluate.evaluate: "Accuracy and error rates, each with its interval.",
    analyse.analyse: "What a student lost, where, and what to try next.",
    calibrate.calibrate: "Find decision thresholds, and keep them in the artifact.",
    align.align: "Cut aligned crops of faces out of photographs.",
    embed.embed: "Write the embedding of every image to a file.",
    verify.verify: "Do two photographs, or a camera's, show one person?",
    enroll.enroll: "Faces, or embeddings, into a gallery file.",
    identify.identify: "Who of a gallery is on each photograph?",
    gallery.gallery: "What a gallery holds; remove people; another key.",
    gallery.key: "Draw a key that encrypts galleries.",
    try_.try_: "A page that puts photographs to both networks.",
    bench.bench: "Latency and throughput of models, alternating in one run.",
    sensitivity.sensitivity: "Which layers mind being rounded?",
    search.search: "The bits of each layer under a budget.",
    report.report: "One page of everything that was measured.",
    export.export: "Write a network for a target.",
    synth.synth: "Faces of people who don't exist, or images from a network.",
    assets.assets: "Fetch the default network, face detector and generator.",
    cache.cache: "List, or remove, what is kept between runs.",
    demo.demo: "The whole way on a real network, with synthetic faces.",
}
for command, about in COMMANDS.items():
    app.command(command.__name__.rstrip("_"), short_help=about)(spoken(command))
app.add_typer(
    data.app, name="data", no_args_is_help=True, short_help="Sets of faces: their contents, damage, other forms."
)


def today(arguments: list[str]) -> list[str]:
    """Arguments with the names that options have now; a note says which had another one."""
    at = next((place for place, word in enumerate(arguments) if not word.startswith("-")), None)
    names = {} if at is None else RENAMED.get(arguments[at], {})
    result = []
    for word in arguments:
        option, equals, value = word.partition("=")
        if option in names:
            remarks([f"{option} is called {names[option]} now"], [])
        result.append(names.get(option, option) + equals + value)
    return result


def main() -> None:
    """Runs the program. A failure is one line on stderr, and an exit code: 2 wrong use, 130, 143 and 129 what ended it
    from outside (see `signals`), 1 anything else; of `verify` see there.
    """
    output.stderr = False  # an earlier call in this process may have had --json -
    voice.quiet = voice.verbose = False
    exits.failure = 1
    with signals.listening(), _quiet_libraries():
        try:
            if _ranks() > 1:
                _join()
            check_given(sys.argv[1:])
            app(args=today(sys.argv[1:]))
        except BrokenPipeError:
            _forget_output()  # the reader of a pipe has gone: nothing to say
            sys.exit(exits.failure)
        except SystemExit as ending:
            if ending.code == _INTERRUPTED:  # typer's for KeyboardInterrupt
                _fail(*(signals.ending() or ("interrupted", _INTERRUPTED)))
            raise
        except (KeyboardInterrupt, Exception) as error:
            try:
                _end(error)
            except MemoryError:  # saying why takes some, too
                os.write(2, b"error: out of memory; give it more\n")
                sys.exit(exits.failure)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps other libraries' warnings from the terminal, unless Python was told to show them; ours are a line each."""
    if os.environ.get("BITFACE_DEBUG") or sys.warnoptions:
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    last, unraisable = logging.lastResort, sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", BitfaceWarning)
        warnings.showwarning = lambda message, *_, **__: remarks([], [str(message)])
        logging.lastResort = None  # what prints the records of loggers that nobody listens to
        sys.unraisablehook = lambda _: None  # as of objects that were never whole, when they go
        try:
            yield
        finally:
            logging.lastResort, sys.unraisablehook = last, unraisable


def _end(error: BaseException) -> NoReturn:
    """Says why the program ends, in one line."""
    if voice.verbose and isinstance(error, BitfaceError):
        traceback.print_exception(error)
    if stop := signals.ending():
        words, code = stop
        _fail(str(error) if isinstance(error, Interrupted) else words, code)
    if isinstance(error, KeyboardInterrupt):
        _fail("interrupted", _INTERRUPTED)
    _let_go(error)
    if lacks_memory(error) and not os.environ.get("BITFACE_DEBUG"):
        _fail(f"out of memory; give it more{_or_less()}", exits.failure)
    if isinstance(error, BitfaceError):
        _fail(str(error), exits.failure if error.exit_code == 1 else error.exit_code)
    if isinstance(error, OSError) and error.errno in _NO_FILES:
        _fail(f"too many files are open ({error.strerror}); raise the limit (ulimit -n)", exits.failure)
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN:
        _forget_output()
        where = error.filename or "standard output"
        _fail(f"{where} can't be written ({error.strerror}); make room, or write elsewhere", exits.failure)
    if isinstance(error, OSError) and error.errno in _NOT_REACHED and error.filename:
        name = str(error.filename)
        name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        _fail(f"{name}: can't be reached ({error.strerror})", exits.failure)
    if isinstance(error, ModuleNotFoundError) and (reason := missing(error)):
        _fail(str(reason), exits.failure)
    _unexpected(error)


def _or_less() -> str:
    """What of its own options lets the command do with less memory."""
    name = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    takes = _options_of(typer.main.get_command(app), name)
    ways = [f"--{word}" for word in ("max-images", "batch", "threads") if word in takes]
    return f", or a smaller {' or '.join(ways)}" if ways else ""


def _let_go(error: BaseException) -> None:
    """Objects that the error's frames hold go here, while libraries are quiet, and not when the program has ended."""
    cause: BaseException | None = error
    while cause is not None and not (os.environ.get("BITFACE_DEBUG") or voice.verbose):
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def _ranks() -> int:
    """How many processes torchrun has started."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def _join() -> None:
    """Becomes one of torchrun's ranks, of which the first alone is heard."""
    global _voice
    from bitface import ranks

    ranks.begin()
    console.writes = ranks.is_first()
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


def _unexpected(error: BaseException) -> NoReturn:
    if os.environ.get("BITFACE_DEBUG") or voice.verbose:
        raise error
    _fail(
        f"unexpected {type(error).__name__}: {one_line(error)} (run with BITFACE_DEBUG=1 for details and report it)",
        exits.failure,
    )


def _forget_output() -> None:
    """What standard output still holds would fail once more when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # the terminal may have gone
        if _heard():
            errors.print("error:", style="bold red", end=" ")
            errors.print(" ".join(message.split()), soft_wrap=True)
    sys.exit(code)
