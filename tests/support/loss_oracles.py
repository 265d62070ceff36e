"""Slow and obvious versions of what `bitface.losses` computes: Python floats and plain loops."""

import math
from collections.abc import Callable, Iterable, Sequence

Rows = Sequence[Sequence[float]]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def angle(a: Sequence[float], b: Sequence[float]) -> float:
    return math.acos(max(-1.0, min(1.0, cosine(a, b))))


def unit(a: Sequence[float]) -> list[float]:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a]


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def rotated(f: Sequence[float], c: Sequence[float], c_q: Sequence[float]) -> list[float]:
    """`f` with its part in the plane of c and c_q turned by the angle between them; basis by Gram-Schmidt."""
    e1 = unit(c)
    v = unit(c_q)
    along = dot(e1, v)
    e2 = unit([y - along * x for x, y in zip(e1, v, strict=True)])
    turn = angle(c, c_q)
    a, b = dot(f, e1), dot(f, e2)
    a2, b2 = a * math.cos(turn) - b * math.sin(turn), a * math.sin(turn) + b * math.cos(turn)
    return [z + (a2 - a) * x + (b2 - b) * y for x, y, z in zip(e1, e2, f, strict=True)]


def cross_entropy(logits: Sequence[float], label: int) -> float:
    top = max(logits)
    return top + math.log(sum(math.exp(z - top) for z in logits)) - logits[label]


def psi(angle: float) -> float:
    """SphereFace's, piece by piece."""
    k = 0
    while angle > (k + 1) * math.pi:
        k += 1
    return (-1) ** k * math.cos(angle) - 2 * k


def arcface(angle: float, m: float) -> float:
    return math.cos(angle + m) if angle + m <= math.pi else psi(angle) - m * math.sin(m)


TARGETS: dict[str, Callable[[float, float], float]] = {
    "arcface": arcface,
    "cosface": lambda angle, m: psi(angle) - m,
    "sphereface": lambda angle, m: psi(m * angle),
}


def margin_loss(
    features: Rows, weights: Rows, labels: Sequence[int], s: float, target: Callable[[float, int], float]
) -> float:
    """`target(angle, i)` stands in for the cosine of the i-th face's class."""
    losses = []
    for i, (f, y) in enumerate(zip(features, labels, strict=True)):
        logits = [s * (target(angle(f, w), i) if j == y else cosine(f, w)) for j, w in enumerate(weights)]
        losses.append(cross_entropy(logits, y))
    return mean(losses)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, x))))


class EKD:
    """Remembers every row that ever came, counts every pair and sorts all scores."""

    def __init__(self, memory: int, hardest: int, form: str, tau: float = 0.01, decay: float = 0.99) -> None:
        self.memory, self.hardest, self.form, self.tau, self.decay = memory, hardest, form, tau, decay
        self.past: list[tuple[Sequence[float], Sequence[float], int]] = []
        self.history: dict[int, list[tuple[float, float]]] = {k: [] for k in range(1, 7)}

    def averages(self, which: int) -> list[float]:
        """Weighted means of all thresholds seen, weights falling by `decay` with age."""
        result = []
        for seen in self.history.values():
            if seen:
                weights = [self.decay ** (len(seen) - 1 - age) for age in range(len(seen))]
                result.append(sum(w * t[which] for w, t in zip(weights, seen, strict=True)) / sum(weights))
        return result

    def gap(self, s: float, t: float) -> float:
        t_s, t_t = self.averages(0), self.averages(1)
        if self.form == "ekd":
            rank_s = sum(sigmoid((s - threshold) / self.tau) for threshold in t_s)
            rank_t = sum(sigmoid((t - threshold) / self.tau) for threshold in t_t)
            return (rank_s - rank_t) ** 2
        return sum(((t - b) - (s - a)) ** 2 for a, b in zip(t_s, t_t, strict=True))

    def step(self, student: Rows, teacher: Rows, labels: Sequence[int]) -> float:
        rows = list(zip(student, teacher, labels, strict=True))
        held = self.past[len(self.past) - self.memory :] if len(self.past) > self.memory else self.past
        pairs = [(a, b) for a in rows for b in held]
        pairs += [(rows[i], rows[j]) for i in range(len(rows)) for j in range(i)]
        scored = [(cosine(a[0], b[0]), cosine(a[1], b[1]), a[2] == b[2]) for a, b in pairs]
        positive = [pair for pair in scored if pair[2]]
        negative = sorted((pair for pair in scored if not pair[2]), reverse=True)
        by_teacher = sorted((pair[1] for pair in negative), reverse=True)
        for k, seen in self.history.items():
            if len(negative) >= 10**k:
                at = len(negative) // 10**k
                seen.append((negative[at][0], by_teacher[at]))
        self.past += rows
        hard = negative[: self.hardest]
        l_pos = mean(self.gap(s, t) for s, t, _ in positive) if positive else 0.0
        l_neg = mean(self.gap(s, t) for s, t, _ in hard) if hard else 0.0
        return 0.02 * l_pos + 0.01 * l_neg
