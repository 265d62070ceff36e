"""Trainings that take a second: small images, small models, a teacher one can compute by hand."""

import numpy as np
import torch
from torch import Tensor, nn

from bitface.losses import build_sum
from bitface.preprocess import parse
from bitface.training import Trainee, Training, TrainingFaces

PREPROCESS = parse("rgb-127.5-127.5", (8, 8))


def faces(count: int = 24, people: int = 0, seed: int = 0) -> TrainingFaces:
    images = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return TrainingFaces(images, np.arange(count) % people if people else None)


def teach(images: np.ndarray) -> np.ndarray:
    """Not symmetric, so that a mirror image has another embedding."""
    values = images.astype(np.float32) / 255 - 0.5
    return np.stack([values[:, :, :4].mean((1, 2, 3)), values[..., 0].mean((1, 2)), values[:, 2].mean((1, 2))], 1)


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4 * 36, 3)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(torch.flatten(torch.relu(self.norm(self.conv(x))), 1)))


def trainee(training: Training, learned: TrainingFaces | None = None, evaluate: bool = True) -> Trainee:
    learned = learned or faces()
    model = Net()
    loss = build_sum(training.loss, 3, learned.classes, generator=torch.Generator().manual_seed(0))
    images = np.asarray(learned.images)
    targets = np.stack([teach(images), teach(images[:, :, ::-1])])

    def figure() -> float:
        inputs = torch.from_numpy(PREPROCESS(images))
        wanted = torch.from_numpy(targets[0])
        return float(torch.nn.functional.cosine_similarity(model(inputs), wanted).mean())

    return Trainee(
        model,
        loss,
        learned,
        PREPROCESS,
        teach,
        targets if training.teacher == "cached" else None,
        figure if evaluate else None,
        train_statistics=True,
    )
