"""What `bitface analyse` finds on faces that both models embedded, part by part, as plain data.

`analyse.analyse_student` describes the data; each function here calls the analysis and gives its part.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from bitface.analysis import angular, classes
from bitface.analysis.distributions import distributions
from bitface.analysis.layers import Layers, compare_layers
from bitface.analysis.maps import MOST_MAPPED, maps, neighbourhoods
from bitface.data.faces import FaceFile, choose, load_faces
from bitface.errors import BitfaceError, option
from bitface.graph import passes
from bitface.progress import Steps
from bitface.quant.rotate import turned_like
from bitface.runtime import Model

_LAYER_FACES = 64
_LAYER_BATCH = 8


@dataclass(frozen=True, eq=False)
class Embedded:
    """The faces that both models could embed.

    Attributes:
        teacher, student: `[N, D]`, as the models give them; unit: both with rows of length 1 (`evaluation.unit_rows`).
        who: class of each, from 0; None where nobody said; names: of the classes.
        conditions: by their names, each `[N]`: those of `conditions.NAMES`, `occlusion` where there are faces enough
            for it, and `pixels` of the file.
    """

    files: list[FaceFile]
    teacher: np.ndarray
    student: np.ndarray
    unit: tuple[np.ndarray, np.ndarray]
    who: np.ndarray | None
    names: list[str]
    conditions: dict[str, np.ndarray]


def pseudo(embeddings: Embedded, notes: list[str]) -> np.ndarray:
    """Pseudo-classes, int64 `[N]`."""
    notes.append(
        "nobody said who is on the faces: pseudo-classes are faces that the teacher finds alike, and their figures "
        f"flatter the teacher; {option('labels')} gives real ones"
    )
    return classes.pseudo_classes(embeddings.teacher)


def angles(embeddings: Embedded, who: np.ndarray, word: str, seed: int, notes: list[str]) -> dict[str, Any]:
    """Everything about angles."""
    plain = angular.dissect(embeddings.teacher, embeddings.student, who)
    turned = None
    if angular.rotation_is_meant(embeddings.teacher):
        turned = angular.dissect(
            embeddings.teacher, angular.without_rotation(embeddings.teacher, embeddings.student), who
        )
    else:
        notes.append(
            f"{len(embeddings.teacher)} faces are too few to take the common rotation out of "
            f"{embeddings.teacher.shape[1]} dimensions; give more than there are dimensions"
        )
    counts = np.bincount(who)
    alone = int((counts == 1).sum())
    if alone:
        notes.append(f"{alone} of {len(counts)} {_many(word)} have one face only and are left out of their figures")
    if (many := int((counts > 1).sum())) > classes.MOST_CLASSES:
        sample = f"{classes.MOST_CLASSES:,} of {many:,} {_many(word)}"
        notes.append(f"the angles between {word} centres are those of {sample}")
    several = counts[who] > 1
    centers = np.unique(who[several], return_inverse=True)[1]
    between = {
        name: classes.inter_class_angles(rows[several], centers, seed) if len(set(centers)) > 1 else np.array([])
        for name, rows in (("teacher", embeddings.teacher), ("student", embeddings.student))
    }
    within = {
        name: classes.within_class_angles(rows, who)
        for name, rows in (("teacher", embeddings.teacher), ("student", embeddings.student))
    }
    return {
        "faces": {"used": len(who), "classes": len(counts) - alone, "alone": alone},
        "errors": {
            "as embedded": _means(plain, word),
            "rotation taken out": _means(turned, word) if turned else None,
        },
        "angles": {
            "errors": distributions(_parts(plain, word)),
            "errors without rotation": distributions(_parts(turned, word)) if turned else {},
            f"inter-{word}": distributions(between),
            f"within-{word}": distributions(within),
        },
        "classes": _worst_classes(embeddings, plain, within, word),
    }


def _many(word: str) -> str:
    return f"{word}es"


def _means(errors: angular.AngularErrors, word: str) -> dict[str, float]:
    return {word if name == "class" else name: value for name, value in errors.means().items()}


def _parts(errors: angular.AngularErrors, word: str) -> dict[str, np.ndarray]:
    """RCM's figures 2a, 7b and 7c: the angles of faces, of classes, and of faces against their class."""
    several = np.bincount(errors.labels) > 1
    return {
        "face": errors.face,
        word: errors.per_class[several],
        "individual": errors.scalar[~errors.alone],
        "individual vector": errors.vector[~errors.alone],
    }


def _worst_classes(
    embeddings: Embedded, errors: angular.AngularErrors, within: dict[str, np.ndarray], word: str
) -> list[dict[str, Any]]:
    """The classes whose faces lost each other most."""
    count = np.bincount(errors.labels)
    torn = np.bincount(errors.labels, errors.vector) / count
    torn[count < 2] = -1
    rows = []
    for one in np.argsort(-torn, kind="stable")[:20]:
        if count[one] > 1:
            members = errors.labels == one
            rows.append(
                {
                    "name": embeddings.names[one] if embeddings.who is not None else f"{word} {one + 1}",
                    "faces": int(count[one]),
                    "error": float(errors.per_class[one]),
                    "individual": float(torn[one]),
                    **{side: float(angles[members].mean()) for side, angles in within.items()},
                }
            )
    return rows


def layers(
    files: list[FaceFile], teacher: Model, student: Model, seed: int, steps: Steps, notes: list[str]
) -> Layers | None:
    """Both graphs side by side on some of the faces; None, with a note, where they can't be."""
    assert teacher.preprocess is not None
    assert student.preprocess is not None
    if teacher.network.size != student.network.size:
        notes.append("layers aren't compared: teacher and student read images of different sizes")
        return None
    images = load_faces(choose(files, _LAYER_FACES, seed), teacher.network.size).images
    progress = steps("comparing layers")

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(images), _LAYER_BATCH):
            part = images[start : start + _LAYER_BATCH]
            yield torch.from_numpy(teacher.preprocess(part)), torch.from_numpy(student.preprocess(part))  # type: ignore[misc]

    graph = student.network.graph if student.integer else passes.fold(student.network.graph)
    try:
        expected = turned_like(passes.fold(teacher.network.graph), graph)
        return compare_layers(expected, graph, batches, lambda count: progress(count, len(images)))
    except BitfaceError as error:
        notes.append(f"layers aren't compared: {error}")
        return None


def mapped(embeddings: Embedded, who: np.ndarray, word: str, seed: int, notes: list[str]) -> dict[str, Any]:
    """Both maps, and how much of the neighbourhoods is kept."""
    projection = maps(*embeddings.unit, who, seed)
    if len(projection.rows) < len(who):
        notes.append(f"the maps show {len(projection.rows):,} of {len(who):,} faces (at most {MOST_MAPPED:,})")
    neighbourhood = neighbourhoods(*embeddings.unit, projection.rows, seed)
    if neighbourhood and neighbourhood.faces < len(who):
        notes.append(f"neighbours are asked for of {neighbourhood.faces:,} of {len(who):,} faces, among all of them")
    titles = [
        embeddings.names[one] if embeddings.who is not None else f"{word} {one + 1}" for one in who[projection.rows]
    ]
    return {
        "map": {
            "rows": len(projection.rows),
            "teacher": np.round(projection.teacher, 3).tolist(),
            "student": np.round(projection.student, 3).tolist(),
            "group": who[projection.rows].tolist(),
            "title": titles,
        },
        "neighbourhoods": asdict(neighbourhood) if neighbourhood else None,
    }
