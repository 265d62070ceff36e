"""What quantization turns: whole classes, which is harmless, and single faces, which is not (Wu et al., CVPR 2020)."""

from dataclasses import dataclass

import numpy as np
import torch

from bitface.losses.angular import angular_error, individual_error
from bitface.losses.centers import class_means


@dataclass(frozen=True, eq=False)
class AngularErrors:
    """Angles between a teacher's and a student's embeddings of the same faces, in degrees.

    Attributes:
        face: A-QE of each face, `[N]` (equation 6).
        per_class: A-QE of each class centre, `[C]` (equation 9): the class error.
        scalar: individual error of each face as the paper has it, |A-QE of the face - A-QE of its centre| (equation
            12): 0 where both turn by as much, even if elsewhere.
        vector: the angle that is left of each face's error once the smallest rotation that brings its teacher's
            centre onto its student's is undone. A rotation about the centre itself stays in it, unless the rotation of
            all faces together was taken out before (see `without_rotation`).
        labels: the class of each face, `[N]`.
        alone: bool `[N]`, faces that are alone in their class, for whom class and individual error can't be told
            apart; they count in `face` only.
    """

    face: np.ndarray
    per_class: np.ndarray
    scalar: np.ndarray
    vector: np.ndarray
    labels: np.ndarray
    alone: np.ndarray

    def means(self) -> dict[str, float]:
        """`face`, and over the faces that aren't alone `class` (each face counting), `individual`, `individual vector`.

        Only `face` where all are alone.
        """
        degrees = {"face": float(self.face.mean())}
        shared = ~self.alone
        if shared.any():
            degrees["class"] = float(self.per_class[self.labels[shared]].mean())
            degrees["individual"] = float(self.scalar[shared].mean())
            degrees["individual vector"] = float(self.vector[shared].mean())
        return degrees


def dissect(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray) -> AngularErrors:
    """The angular errors of faces and classes.

    Args:
        teacher, student: embeddings of the same faces, `[N, D]`, of any length but 0.
        labels: who is on them, 0 to C-1, int64 `[N]`; each class has a face.
    """
    # Double precision: angles of a thousandth of a degree are asked for.
    f, f_q, who = torch.from_numpy(teacher).double(), torch.from_numpy(student).double(), torch.from_numpy(labels)
    centers, counts = class_centers(f, who)
    turned, _ = class_centers(f_q, who)
    c, c_q = centers[who], turned[who]

    def degrees(angles: torch.Tensor) -> np.ndarray:
        return torch.rad2deg(angles).numpy()

    return AngularErrors(
        face=degrees(angular_error(f, f_q)),
        per_class=degrees(angular_error(centers, turned)),
        scalar=degrees(individual_error(f, f_q, c, c_q, "scalar")),
        vector=degrees(individual_error(f, f_q, c, c_q, "vector")),
        labels=labels,
        alone=(counts[who] < 2).numpy(),
    )


def class_centers(rows: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of each class's embeddings, each of length 1, `[C, D]`, and the counts."""
    return class_means(torch.nn.functional.normalize(rows), labels, int(labels.max()) + 1)


def without_rotation(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """The student's embeddings, length 1, turned as one whole so that they lie as near to the teacher's as they can.

    The orthogonal matrix with the least squared distance (Schönemann 1966, Procrustes; reflections allowed). It
    changes no similarity of two of the student's faces, so that what it takes out harms no decision.

    Raises:
        ValueError: no more faces than dimensions. Then a rotation could hide nearly every error.
    """
    if not rotation_is_meant(teacher):
        raise ValueError(f"{len(teacher)} faces can't fix a rotation in {teacher.shape[1]} dimensions")
    f, f_q = (torch.nn.functional.normalize(torch.from_numpy(rows).double()) for rows in (teacher, student))
    left, _, right = torch.linalg.svd(f_q.T @ f)
    result: np.ndarray = (f_q @ left @ right).numpy()
    return result


def rotation_is_meant(rows: np.ndarray) -> bool:
    """Whether there are enough faces for the rotation of all of them to mean something: more than dimensions."""
    result: bool = len(rows) > rows.shape[1]
    return result
