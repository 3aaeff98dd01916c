"""Handwritten digits (scikit-learn's copy of UCI's) as sequences of patches or of pixels.

1,797 images of 8 x 8 pixels, 16 grey levels: E. Alpaydin and C. Kaynak 1998, Optical
recognition of handwritten digits, UCI Machine Learning Repository.
"""

from __future__ import annotations

import numpy as np

from elector.base.errors import InputError
from transcode.training.need import need
from transcode.training.task import Array, DataSplit, Task

SIDE, LEVELS, CLASSES = 8, 17, 10
#: Images to train and to validate with; the rest is the test split.
TRAIN, VALID = 1000, 297


def digits(*, sequence_length: int | None = None, seed: int = 0) -> Task:
    """Patches of the images, row by row: 16 of 2 x 2 pixels unless told otherwise.

    sequence_length : 4, 16 or 64 patches. seed : which images are in which split.
    """
    length = 16 if sequence_length is None else sequence_length
    _require(length, (4, 16, 64), "digits")
    images, labels = _images(seed)
    side = SIDE // int(length**0.5)
    across = SIDE // side
    cut = images.reshape(-1, across, side, across, side).swapaxes(2, 3)
    patches = cut.reshape(-1, length, side * side)
    values = (patches / (LEVELS - 1) - 0.5).astype(np.float32)
    return _task("digits", "values", values, labels, length)


def digits_tokens(*, sequence_length: int | None = None, seed: int = 0) -> Task:
    """Pixels of the images, row by row, each one of 17 tokens (its grey level).

    sequence_length : 64, or 16 for the mean grey levels of 2 x 2 pixels.
    """
    length = 64 if sequence_length is None else sequence_length
    _require(length, (16, 64), "digits-tokens")
    images, labels = _images(seed)
    if length == 16:
        images = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4))
    tokens = np.rint(images).astype(np.int64).reshape(-1, length)
    return _task("digits-tokens", "tokens", tokens, labels, length)


def _require(length: int, allowed: tuple[int, ...], task: str) -> None:
    if length not in allowed:
        raise InputError(
            f"does not cut the 8 x 8 images of task {task}",
            field="sequence_length",
            value=length,
            allowed=allowed,
        )


def _images(seed: int) -> tuple[Array, Array]:
    """(1797, 8, 8) grey levels and (1797,) classes, shuffled."""
    data = need("sklearn.datasets", "scikit-learn").load_digits()
    order = np.random.default_rng(seed).permutation(data.target.size)
    return data.images[order], data.target[order].astype(np.int64)


def _task(name: str, inputs: str, x: Array, y: Array, length: int) -> Task:
    train, valid, test = (
        DataSplit(x[rows], y[rows])
        for rows in (slice(TRAIN), slice(TRAIN, TRAIN + VALID), slice(TRAIN + VALID, None))
    )
    return Task(
        name=name,
        kind="classification",
        inputs=inputs,
        sequence_length=length,
        vocabulary=LEVELS if inputs == "tokens" else None,
        features=x.shape[2] if inputs == "values" else None,
        outputs=CLASSES,
        metric="accuracy",
        train=train,
        valid=valid,
        test=test,
        baselines=_baselines(train, test),
        source="scikit-learn load_digits (UCI optical recognition of handwritten digits)",
    )


def _baselines(train: DataSplit, test: DataSplit) -> dict[str, float]:
    """The most frequent class, and the class whose mean image is nearest."""
    majority = int(np.bincount(train.y, minlength=CLASSES).argmax())
    flat, asked = train.x.reshape(train.size, -1), test.x.reshape(test.size, -1)
    means = np.stack([flat[train.y == c].mean(axis=0) for c in range(CLASSES)])
    nearest = ((asked[:, None, :] - means) ** 2).sum(axis=2).argmin(axis=1)
    return {
        "majority": 100.0 * float((test.y == majority).mean()),
        "nearest mean": 100.0 * float((nearest == test.y).mean()),
    }
