"""`bitface try`: a float network and its integer one side by side, on a page of this machine."""

from dataclasses import dataclass
from pathlib import Path

from bitface.errors import BitfaceError
from bitface.files import path_fields
from bitface.preprocess import Size
from bitface.runtime.model import open_model, open_models
from bitface.tryout import Trial, TryoutServer


@dataclass(frozen=True)
@path_fields
class TryRequest:
    """What to look at; the options of `bitface try`.

    Attributes:
        model: an artifact.
        float_model: the network that it was made from; None: the artifact alone is looked at.
        far: whose stored threshold decides; None: the strictest.
        preprocess, size: of a float network that doesn't say them; by default the artifact's.
        port: 0: any that is free.
    """

    model: Path
    float_model: Path | None = None
    far: float | None = None
    engine: str | None = None
    threads: int | None = None
    preprocess: str | None = None
    size: Size | None = None
    port: int = 0


def serve_trial(request: TryRequest) -> TryoutServer:
    """The server of the page, which whoever called runs and ends; see `tryout`.

    Raises:
        BitfaceError, UsageError: a model can't be opened or run, no threshold is stored for `far`, the port is taken.
    """
    if request.float_model is None:
        trial = Trial(open_model(request.model), None, request.far, request.engine, request.threads)
        return TryoutServer(trial, request.port)
    first, model = open_models([request.float_model, request.model], request.preprocess, request.size)
    if first.integer:
        raise BitfaceError(
            f"{request.float_model}: isn't a float network; give the one that {request.model} was made from"
        )
    if first.preprocess is None and model.preprocess is not None:
        first = first.with_preprocess(model.preprocess)
    return TryoutServer(Trial(model, first, request.far, request.engine, request.threads), request.port)
