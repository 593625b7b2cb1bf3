"""scikit-learn's digits; and what all sets of the ten digits have in common."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator
from sklearn.datasets import load_digits

from aegean.data.files import Benchmark
from aegean.data.images import ImageData, from_arrays
from aegean.data.splits import HeldOut, Splits, SplitSettings

DIGIT_NAMES = tuple("0123456789")


def _check_digits(classes: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if classes is not None and (not classes or len(set(classes)) < len(classes) or not set(classes) <= set(range(10))):
        raise ValueError(f"{list(classes)} must be different digits from 0 to 9, at least one.")
    return classes


#: Some of the ten digits, in the order in which they become labels 0, 1, ...; None for all.
DigitClasses = Annotated[tuple[int, ...] | None, AfterValidator(_check_digits)]


def only(data: ImageData, classes: tuple[int, ...] | None) -> ImageData:
    """Keep the images of some classes; the first of the classes becomes label 0. None keeps everything."""
    if classes is None:
        return data
    label = torch.full((data.classes,), -1)
    label[list(classes)] = torch.arange(len(classes))
    kept = data.subset(torch.nonzero(label[data.labels] >= 0).flatten())
    return replace(kept, labels=label[kept.labels], class_names=tuple(data.class_names[k] for k in classes))


class Digits(SplitSettings):
    """The 1,797 digits of `sklearn.datasets.load_digits`, 8x8, grey.

    Their 17 levels 0 ... 16 become round(255 v / 16). 360 are held out for the test by default.

    Attributes:
        classes: some of the digits only.
    """

    benchmark: ClassVar[Benchmark] = Benchmark(
        name="digits",
        description="8x8 handwritten digits, comes with scikit-learn",
        images=1797,
        shape=(1, 8, 8),
        classes=10,
        source="Alpaydin and Kaynak, UCI Machine Learning Repository; CC BY 4.0",
    )

    kind: Literal["digits"] = "digits"
    test: HeldOut = 0.2
    classes: DigitClasses = None

    def load(self) -> Splits:
        """Read and split; see `SplitSettings.split`."""
        images, labels = load_digits(return_X_y=True)
        data = from_arrays(images.reshape(-1, 8, 8) / 16, labels)
        return self.split(only(data, self.classes), source="digits")
