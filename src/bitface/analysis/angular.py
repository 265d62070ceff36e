"""What quantization turns: whole classes, which is harmless, and single faces, which is not (Wu et al., CVPR 2020)."""

import numpy as np
import torch

from bitface.losses.angular import angular_error, individual_error
from bitface.losses.centers import class_means


def angular_errors(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The mean angles by which quantization turns faces, their classes, and faces against their class.

    Args:
        teacher, student: embeddings of the same faces, float32 `[N, D]`.
        labels: who is on them, 0 to C-1, int64 `[N]`; a class of one face has no individual error.

    Returns:
        Degrees: `face` (A-QE, equation 6), `class` (equation 9, each face counting), `individual` (scalar, equation
        12), `individual vector` (the angle that is left when the class's own rotation is undone).
    """
    f, f_q, who = torch.from_numpy(teacher), torch.from_numpy(student), torch.from_numpy(labels)
    classes = int(who.max()) + 1
    unit_f, unit_q = torch.nn.functional.normalize(f), torch.nn.functional.normalize(f_q)
    c, c_q = class_means(unit_f, who, classes)[0][who], class_means(unit_q, who, classes)[0][who]
    found = {
        "face": angular_error(f, f_q),
        "class": angular_error(c, c_q),
        "individual": individual_error(f, f_q, c, c_q, "scalar"),
        "individual vector": individual_error(f, f_q, c, c_q, "vector"),
    }
    return {name: float(torch.rad2deg(angles).mean()) for name, angles in found.items()}
