"""What a report can show, as plain data. Every part but the title may be left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aegean.evaluate.classification import Classification
from aegean.evaluate.clustering import Clustering
from aegean.plots.curves import Points
from aegean.plots.grids import Array, Pixels
from aegean.report.health import AdversaryHealth


@dataclass(frozen=True, eq=False)
class ImageRow:
    """Some images of one kind, such as the samples of a class.

    Attributes:
        name: of the kind.
        images: floats in [0, 1] or uint8, shape `(n, c, h, w)`; so are all images below.
        in_row: how many of them go into a row of a figure, if fewer than its columns.
    """

    name: str
    images: Array
    in_row: int | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """Images whose arrangement says something, in one or several panels.

    Attributes:
        title: of the figure.
        caption: plain sentences: what a row and what a column is.
        panels: each laid out from left to right and from top to bottom; names may be empty.
        columns: images a row, in every panel.
    """

    title: str
    caption: str
    panels: Sequence[ImageRow]
    columns: int

    @property
    def shown(self) -> list[ImageRow]:
        """The panels that have images."""
        return [panel for panel in self.panels if len(panel.images)]

    @property
    def layout(self) -> Literal["beside", "strips", "plain"]:
        """Named grids stand side by side, named rows one below the other, and so does what has no name."""
        if not any(panel.name for panel in self.shown):
            return "plain"
        return "beside" if any(len(panel.images) > self.columns for panel in self.shown) else "strips"


@dataclass(frozen=True, eq=False)
class Cluster:
    """A cluster with its most typical members.

    Attributes:
        number: of the cluster, from 0.
        images: its members with the largest q(z_i|x), the most typical one first, shape `(n, c, h, w)`.
        label: name of the class it stands for; None if the classes are not known.
        size: number of images in it.
    """

    number: int
    images: Array
    label: str | None = None
    size: int | None = None


@dataclass(frozen=True, eq=False)
class Reconstructions:
    """Held-out images and what the decoder made of their codes, both of shape `(n, c, h, w)`."""

    originals: Array
    rebuilt: Array


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Images that were labelled wrongly.

    Attributes:
        images: shape `(n, c, h, w)`.
        true: true classes, shape `(n,)`.
        predicted: predicted classes, shape `(n,)`.
        names: of the files, if there are any.
        confidence: probability given to the prediction, in [0, 1], shape `(n,)`.
    """

    images: Array
    true: Array
    predicted: Array
    names: Sequence[str] | None = None
    confidence: Array | None = None


@dataclass(frozen=True, eq=False)
class Proposals:
    """Images without label that the model is least sure of, and that differ from each other.

    Attributes:
        images: shape `(n, c, h, w)`.
        guesses: names of the classes that it would say.
        names: of the files, if there are any.
        confidence: probability of the guess, in [0, 1], shape `(n,)`.
    """

    images: Array
    guesses: Sequence[str]
    confidence: Array
    names: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes to draw.

    Attributes:
        codes: 2-D codes, shape `(n, 2)`, or probabilities of three categories, shape `(n, 3)`.
        labels: shape `(n,)`, -1 = unlabelled.
        title: of the drawing.
        caption: plain sentences: what a point is.
        marks: points to mark with rings, shape `(k, 2)`.
    """

    codes: Array
    labels: Array
    title: str = "The map of codes"
    caption: str = "Every point is an image, placed by its code and coloured by its class."
    marks: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Technical:
    """How the run was made, for the folded part at the end.

    Attributes:
        reasons: why the settings are as they are.
        command: as typed.
        configuration: the whole experiment as YAML.
        versions: by name (aegean, torch, python, commit, ...).
        hardware: one line.
        minutes: time of training.
        warnings: that the run gave.
    """

    command: str | None = None
    configuration: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: str | None = None
    minutes: float | None = None
    warnings: Sequence[str] = ()
    reasons: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportContent:
    """All that a report shows. A part that is None or empty is left out of the page.

    Attributes:
        title: of the page.
        subtitle: one line under it (model, data, seed, date).
        class_names: of classes 0, 1, ...; a class without a name is shown by its number.
        labels: number of training images with a label, and number of training images.
        findings: the results in plain words, for the very beginning, in place of what the page would say by itself.
        sentences: further plain statements for the beginning.
        judged: what the images are that are shown and judged, in words.
        classification: predictions against truth on the held-out images.
        clustering: clusters against truth on the held-out images.
        baselines: error in percent of other methods, with the same labels and split, by name.
        samples: generated images, one row a class.
        figures: further images, each with its own title.
        clusters: with their most typical members.
        reconstructions: of held-out images.
        mistakes: a gallery of them.
        proposals: images that should be labelled next.
        map: images in the plane, each where its code is; uint8 pixels (h, w, 4).
        codes: drawn as points.
        errors: (epoch, percent of the validation images whose class is wrong).
        curves: (epoch, loss) by phase.
        adversaries: the discriminators' health.
        technical: command, configuration, versions, time, warnings.
    """

    title: str
    subtitle: str | None = None
    class_names: Sequence[str] = ()
    labels: tuple[int, int] | None = None
    findings: Sequence[str] = ()
    sentences: Sequence[str] = ()
    judged: str = "held-out images"
    classification: Classification | None = None
    clustering: Clustering | None = None
    baselines: Mapping[str, float] | None = None
    samples: Sequence[ImageRow] | None = None
    figures: Sequence[Figure] = ()
    clusters: Sequence[Cluster] | None = None
    reconstructions: Reconstructions | None = None
    mistakes: Mistakes | None = None
    proposals: Proposals | None = None
    map: Pixels | None = None
    codes: Codes | None = None
    errors: Points | None = None
    curves: Mapping[str, Points] | None = None
    adversaries: Sequence[AdversaryHealth] | None = None
    technical: Technical | None = None
