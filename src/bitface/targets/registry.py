"""The targets by name: a file in this folder that registers one is enough, or another package's entry point.

from bitface.targets.base import Target
from bitface.targets.registry import TARGETS

TARGETS.register("mine")(Target(title="Mine", suffix=".mine", emit=...))
"""

import warnings

from bitface.errors import BitfaceError, UsageError, nearest
from bitface.registry import Registry
from bitface.targets.base import Target

TARGETS: Registry[Target] = Registry("target", "bitface.targets", package="bitface.targets")
# Who runs a network where nobody names a target: the first that is exact on this CPU. The fastest come first. Those of
# them that are files too are written and compared where nobody names others.
DEFAULTS = ("openvino", "onnxruntime", "torch")
FASTEST = DEFAULTS[0]


def written() -> tuple[str, ...]:
    """The default targets that are written as files."""
    return tuple(name for name in DEFAULTS if TARGETS[name].emit)


def listed(names: str | None) -> tuple[str, ...]:
    """The targets of an option such as openvino,onnxruntime; None: the default ones.

    Raises:
        UsageError: an unknown one, or one that isn't written as a file.
    """
    if names is None:
        return written()
    result = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for name in result:
        emitted(name)
    return result


def emitted(name: str) -> Target:
    """The target of a name, to be written. Raises UsageError where there is none, or it isn't written as a file."""
    target = TARGETS[name]
    if target.emit is None:
        files = ", ".join(other for other, one in every().items() if one.emit)
        raise UsageError(f"the target '{name}' isn't written as a file; use one of {files}")
    return target


def started(name: str) -> Target:
    """The target of a name, to run as an engine. Raises UsageError where there is none, or it doesn't run here."""
    if name in TARGETS and (target := TARGETS[name]).start:
        return target
    engines = [other for other, one in every().items() if one.start]
    if name in TARGETS:
        raise UsageError(f"the target '{name}' doesn't run here; use one of {', '.join(engines)}")
    raise UsageError(f"unknown engine '{name}'{nearest(name, engines)} (there are {', '.join(engines)})")


def every() -> dict[str, Target]:
    """All targets; one of another package that can't be imported is left out with a warning."""
    result = {}
    for name in TARGETS:
        try:
            result[name] = TARGETS[name]
        except BitfaceError as error:
            warnings.warn(str(error), stacklevel=2)
    return result


def runs_here(name: str | None) -> bool:
    """Whether a name, such as a file's, is that of a target that runs here."""
    return name is not None and name in TARGETS and TARGETS[name].start is not None


def title_of(name: str) -> str:
    """The title of a target; of one that isn't known here, which an older or newer file names, that name."""
    return TARGETS[name].title if name in TARGETS else name
