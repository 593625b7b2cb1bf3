"""Clusters: a table, pictures of each cluster, images sorted into folders."""

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from aegean.data import Folder, ImageData
from aegean.data.listing import list_images
from aegean.errors import OutputError
from aegean.evaluate.apply import Advance, apply, progress_of
from aegean.evaluate.clustering import Clustering, evaluate_clustering
from aegean.files import atomic_write, write_csv
from aegean.plots import image_grid, png_bytes
from aegean.run import Run
from aegean.tasks.settings import TaskSettings
from aegean.writing import names_of

#: Images on one sheet.
ON_A_SHEET = 100


@dataclass(frozen=True, eq=False)
class Clusters:
    """Images and what a model says of them.

    Attributes:
        data: the images, with all labels that are known (which training did not see).
        log_q: logarithms of the probability of each cluster, (n, k).
    """

    data: ImageData
    log_q: Tensor

    @classmethod
    def of(cls, run: Run, advance: Advance | None = None) -> Self:
        """Put the training images of a run into clusters."""
        model, data = run.model(), run.splits.revealed
        told = progress_of(advance, "predicting", len(data))
        return cls(
            data, apply(model, model.log_predict, data.images, run.precision, run.splits.binarize, progress=told)
        )

    @cached_property
    def best(self) -> Tensor:
        """The cluster of each image, int64 (n,)."""
        return self.log_q.argmax(dim=1)

    @property
    def sizes(self) -> Tensor:
        """Images of each cluster, (k,)."""
        return torch.bincount(self.best, minlength=self.log_q.shape[1])

    def members(self, cluster: int) -> Tensor:
        """Indices of a cluster's images, the most typical first."""
        inside = torch.nonzero(self.best == cluster).flatten()
        return inside[self.log_q[inside, cluster].argsort(descending=True, stable=True)]

    def judge(self) -> Clustering | None:
        """Compare with the labels that are known; None where there are none."""
        known = torch.nonzero(self.data.labels >= 0).flatten()
        if not len(known) or self.data.classes < 2:
            return None
        labels, log_q = self.data.labels[known], self.log_q[known]
        return evaluate_clustering(log_q, labels, log_q, labels, self.data.classes)

    def sentences(self) -> tuple[str, ...]:
        """Say what was found."""
        sizes = self.sizes[self.sizes > 0]
        n, k = len(self.data), len(self.sizes)
        what = "vectors" if self.data.shape[1:] == (1, 1) else "images"
        found = [
            f"{n:,} {what} are in {len(sizes)} cluster{'s' * (len(sizes) > 1)}; the largest has {int(sizes.max()):,} "
            f"of them, the smallest {int(sizes.min()):,}."
        ]
        if len(sizes) < k:
            empty = k - len(sizes)
            found.append(f"{empty} of the {k} clusters that were asked for {'is' if empty == 1 else 'are'} empty.")
        judged = self.judge()
        if judged is not None:
            right = judged.examples - round(judged.examples * judged.majority_error_percent / 100)
            found.append(
                f"{right:,} of the {judged.examples:,} with a label have the label that is the most frequent in their "
                "cluster; the clusters were made without any label."
            )
        return tuple(found)


def write_clusters(run: Run, settings: TaskSettings, found: Clusters, advance: Advance | None = None) -> list[Path]:
    """Write `clusters.csv`, and sheets and folders if they are wanted.

    Raises:
        OutputError: something cannot be written.
    """
    path = run.folder / "clusters.csv"
    confidence = found.log_q.max(dim=1).values.exp().tolist()
    rows = zip(names_of(found.data), found.best.tolist(), confidence, strict=True)
    write_csv(path, ["file", "cluster", "confidence"], ([name, str(k), f"{p:.4f}"] for name, k, p in rows))
    files = [path]
    if settings.sheets:
        files.append(_write_sheets(run.folder / "sheets", found))
    if settings.folders and isinstance(run.experiment.data, Folder):
        files.append(_copy_into_folders(run.experiment.data, run.folder / "clusters", found, advance))
    return files


def _write_sheets(folder: Path, found: Clusters) -> Path:
    _remove(folder)
    for k in range(len(found.sizes)):
        members = found.members(k)[:ON_A_SHEET]
        if len(members):
            columns = int(np.ceil(np.sqrt(len(members))))
            pixels = image_grid(found.data.images[members], columns=columns)
            atomic_write(folder / f"{_name(k, found)}.png", png_bytes(pixels))
    return folder


def _copy_into_folders(data: Folder, folder: Path, found: Clusters, advance: Advance | None) -> Path:
    """Copy every image as it is into the folder of its cluster; slashes in its name become underscores."""
    _remove(folder)
    listing = list_images(data.path)
    names = names_of(found.data)
    with listing.opened() as opener:
        for done, (name, k) in enumerate(zip(names, found.best.tolist(), strict=True), start=1):
            source = opener(name)
            raw = source.read_bytes() if isinstance(source, Path) else source.getvalue()
            atomic_write(_free(folder / _name(k, found) / name.replace("/", "_")), raw)
            if advance is not None:
                advance("copying images", done, len(names))
    return folder


def _name(cluster: int, found: Clusters) -> str:
    """`cluster-07`, so that names sort like numbers."""
    return f"cluster-{cluster:0{len(str(len(found.sizes) - 1))}}"


def _free(path: Path) -> Path:
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _remove(folder: Path) -> None:
    """Remove what an earlier call has written."""
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written anew ({error.strerror}); remove it.") from None
