"""The targets by name: a file in this folder that registers one is enough, or another package's entry point.

from bitface.targets.base import Target
from bitface.targets.registry import TARGETS

TARGETS.register("mine")(Target(title="Mine", suffix=".mine", emit=...))
"""

import warnings
from importlib.util import find_spec

from bitface.errors import BitfaceError, BitfaceWarning, UsageError, nearest
from bitface.registry import Registry
from bitface.targets.base import Target

TARGETS: Registry[Target] = Registry("target", "bitface.targets", package="bitface.targets", named_as_files=True)
# Exact on every CPU: it runs an integer network where it is faster than the first of the following that is exact here.
NATIVE = "c"
# Exact on every CPU as bitface starts it, and installed without torch: it runs what was exported for it.
PORTABLE = "onnxruntime"
# Who runs a network where nobody names a target: the first that is exact on this CPU. The fastest come first. Those of
# them that are files too are written and compared where nobody names others.
DEFAULTS = ("openvino", "onnxruntime", "torch")
FASTEST = DEFAULTS[0]
# Ends the name of what computed in the place of an engine.
_SIMULATED = "-simulated"


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
    """The target of a name, to compute here, in its simulation where its engine isn't installed.

    Raises:
        UsageError: there is none of the name, or it neither runs here nor has a simulation.
    """
    if name in TARGETS and (TARGETS[name].start or TARGETS[name].simulate):
        return TARGETS[name]
    engines = [other for other, one in every().items() if one.start or one.simulate]
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
            warnings.warn(str(error), BitfaceWarning, stacklevel=2)
    return result


def computes(name: str) -> bool:
    """Whether a known target gives embeddings here: of its engine, or of its simulation."""
    return runs_here(name) or TARGETS[name].simulate is not None


def runs_here(name: str | None) -> bool:
    """Whether a name, such as a file's, is that of a target whose engine is installed."""
    if name is None or name not in TARGETS or TARGETS[name].start is None:
        return False
    module, available = TARGETS[name].imports, TARGETS[name].available
    return (module is None or find_spec(module) is not None) and (available is None or available())


def engine_name(name: str) -> str:
    """What computes where a target is asked for, as results, thresholds, galleries and kept embeddings say it: the
    target's name, or that of its simulation, whose numbers must never pass for the engine's.
    """
    return name if runs_here(name) else name + _SIMULATED


def way_to_install(target: Target) -> str:
    """The command that installs a target's engine."""
    return f"pip install 'bitface[{target.extra}]'" if target.extra else f"installing what {target.title} needs"


def title_of(name: str) -> str:
    """The title of a target, or of its simulation; of one that isn't known here, which an older or newer file names,
    that name.
    """
    target = name.removesuffix(_SIMULATED)
    if target not in TARGETS:
        return name
    return TARGETS[target].title if target == name else f"the simulation of {TARGETS[target].title}"
