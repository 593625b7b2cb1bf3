"""Coordinates: a table, and a map of the images in the plane."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from aegean.data import ImageData
from aegean.evaluate.apply import Advance, progress_of
from aegean.files import atomic_write
from aegean.plots import codes_svg, image_grid, png_bytes, thumbnail_map
from aegean.run import Run
from aegean.use import codes
from aegean.writing import write_codes

#: Images on the sheet that stands for a map of one coordinate.
ON_A_SHEET = 400


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Images and where they are.

    Attributes:
        data: the images, with all labels that are known (which training did not see).
        z: coordinates, (n, d).
    """

    data: ImageData
    z: Tensor

    @classmethod
    def of(cls, run: Run, advance: Advance | None = None) -> Self:
        """Place the training images of a run."""
        data = run.splits.revealed
        return cls(data, codes(run, run.model(), data, progress_of(advance, "encoding", len(data))))

    @property
    def plane(self) -> Tensor:
        """Two coordinates, (n, 2): of more than two, the two directions in which the points differ most; d is not 1."""
        if self.z.shape[1] == 2:
            return self.z
        centred = (self.z - self.z.mean(dim=0)).double()
        _, _, directions = torch.linalg.svd(centred, full_matrices=False)
        plane: Tensor = (centred @ directions[:2].T).float()
        return plane

    def sentences(self) -> tuple[str, ...]:
        """Say what was found."""
        n, d = self.z.shape
        what = "vectors" if self.data.shape[1:] == (1, 1) else "images"
        found = [f"Each of the {n:,} {what} has {d} coordinate{'s' * (d > 1)} now; similar ones are near each other."]
        if d > 2:
            found.append("The map shows the two directions in which the coordinates differ most.")
        return tuple(found)


def write_coordinates(run: Run, found: Coordinates) -> list[Path]:
    """Write `coordinates.csv` and a map: of images a picture, `map.png`; of vectors points, `map.svg`.

    Raises:
        OutputError: something cannot be written.
    """
    table = run.folder / "coordinates.csv"
    write_codes(table, found.data, found.z)
    return [table, _write_map(run.folder, found)]


def _write_map(folder: Path, found: Coordinates) -> Path:
    data, z = found.data, found.z
    if z.shape[1] == 1:  # a line: images in its order
        order = z[:, 0].argsort(stable=True)
        shown = order[torch.linspace(0, len(order) - 1, min(len(order), ON_A_SHEET)).long()]
        path = folder / "map.png"
        atomic_write(path, png_bytes(image_grid(data.images[shown])))
    elif data.shape[1:] == (1, 1):
        path = folder / "map.svg"
        svg = codes_svg(found.plane, data.labels, data.class_names)
        atomic_write(path, svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    else:
        path = folder / "map.png"
        atomic_write(path, png_bytes(on_white(thumbnail_map(found.plane, data.images))))
    return path


def on_white(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return pixels (h, w, 3) of transparent ones (h, w, 4)."""
    return np.where(pixels[..., 3:] > 0, pixels[..., :3], np.uint8(255))
