"""An adversarial autoencoder on points in the plane: the idea in four panels, in under a minute on one CPU core.

The data are eight small Gaussians on a ring. An autoencoder learns a code for each point and gets the point back from
it, but nobody told it where in the code space the codes should lie. So we cannot draw *new* points: we do not know
which codes to decode. The adversarial autoencoder adds a discriminator that tells codes from draws of a prior of our
choice, and an encoder that learns to fool it. In the end every draw of the prior is a code that the decoder knows.

    python examples/toy_2d.py        # trains both, prints what can be counted, writes toy_2d.png
"""

import argparse
import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from aegean import AAE, Splits, TrainConfig, Trainer, from_arrays
from aegean.adversary import Adversary
from aegean.data import SplitSettings
from aegean.likelihoods import GaussianLikelihood
from aegean.models import AAEConfig, Group, Phase
from aegean.nn import MLPConfig
from aegean.plots import PALETTE
from aegean.priors import GaussianMixture
from aegean.train import Adam, OptimizerConfig

MODES, RADIUS, STD = 8, 0.35, 0.02
ANGLES = 2 * math.pi / MODES * torch.arange(MODES)
CENTRES = 0.5 + RADIUS * torch.stack((ANGLES.cos(), ANGLES.sin()), dim=1)  # (8, 2); images live in [0, 1]

# The prior is a flower of eight petals. Nothing needs its density: whatever can be sampled can be a prior.
PRIOR = GaussianMixture(components=MODES, dim=2, radial_std=0.25, tangential_std=0.1)
LAYERS = MLPConfig(widths=(64, 64))
MODEL = AAEConfig(
    prior=PRIOR,
    encoder=LAYERS,
    decoder=LAYERS,
    discriminator=LAYERS,
    # A point is an image of two channels and one pixel; its coordinates are the mean of a Gaussian, not a sigmoid's.
    likelihood=GaussianLikelihood(std=0.05, activation="linear"),
    # Without a penalty on the discriminator's slope, codes and discriminator chase each other round and round.
    adversary=Adversary(r1=0.3),
)


class PlainAutoencoder(AAE):
    """The same networks without the adversary: a model is its phases, and this one has only the first."""

    def phases(self) -> tuple[Phase | Group, ...]:
        """Reconstruction alone."""
        return super().phases()[:1]


def ring(n: int, seed: int) -> Splits:
    """Return n points of the ring in random order, each labelled with its Gaussian; a quarter is held out."""
    mode = torch.arange(n) % MODES
    points = CENTRES[mode] + STD * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    # A vector of d numbers is an image of shape (d, 1, 1). The labels only colour the picture: no phase reads them.
    return SplitSettings(test=0.25).split(from_arrays(points[:, :, None, None], mode, layout="nchw"))


def train(model: AAE, splits: Splits, steps: int) -> None:
    """Run the model's phases so many times; the loop is the one that trains every model of the package."""
    streams = splits.streams(batch_size=200, labelled_batch_size=200, seed=0)
    # Two players who answer each other's last move never come to rest, so all rates fall to a tenth near the end.
    drops = ((0.6 * steps / streams["images"].steps_per_epoch, 0.1),)
    # The discriminator learns faster than the encoder moves. Each phase has an optimiser of its own.
    optimizers = {
        "reconstruct": Adam(rate=1e-3, drops=drops),
        "discriminate": Adam(rate=1e-3, betas=(0.5, 0.9), drops=drops),
        "confuse": Adam(rate=3e-4, betas=(0.5, 0.9), drops=drops),
    }
    used: dict[str, OptimizerConfig] = {phase.name: optimizers[phase.name] for phase in model.all_phases()}
    trainer = Trainer(model, TrainConfig(optimizers=used, precision="float32", device="cpu"), streams)
    for _ in range(steps):
        trainer.run_step()
    model.eval()


@torch.no_grad()
def show(model: AAE, splits: Splits, codes_axes: Axes, points_axes: Axes) -> str:
    """Draw codes over the prior and new points over the data; return what can be counted."""
    x, mode = splits.test.images / 255, splits.test.labels
    z = model.encode(x)  # (n, 2)
    prior = PRIOR.sample(2000, generator=torch.Generator().manual_seed(1))  # (2000, 2)
    new = model.decode(prior).flatten(1)  # (2000, 2)
    distance, nearest = torch.cdist(new, CENTRES).min(dim=1)
    hit = nearest[distance < 4 * STD].bincount(minlength=MODES)
    error = (model.reconstruct(x) - x).flatten(1).norm(dim=1).mean()

    scatter(codes_axes, prior, "lightgrey")
    scatter(codes_axes, z, [PALETTE[k] for k in mode])
    codes_axes.set(title="codes (colour), draws of the prior (grey)")
    scatter(points_axes, x.flatten(1), "lightgrey")
    scatter(points_axes, new, [PALETTE[k] for k in nearest])
    points_axes.set(title="decoded draws (colour), data (grey)", xlim=(0, 1), ylim=(0, 1))
    return (
        f"reconstruction error {error:.3f}; {100 * hit.sum() / len(new):.0f} % of the decoded draws lie in a Gaussian "
        f"of the ring, {100 * hit.min() / len(new):.1f} % in the one hit least (fair would be {100 / MODES:.1f} %)"
    )


def scatter(axes: Axes, points: Tensor, colour: str | list[str]) -> None:
    """Draw points (n, 2) in coordinates of equal scale."""
    axes.scatter(points[:, 0], points[:, 1], c=colour, s=3, linewidths=0)
    axes.set_aspect("equal")


def main() -> None:
    """Train the two models, print what can be counted, write the picture."""
    parser = argparse.ArgumentParser(description="An adversarial autoencoder on a ring of Gaussians.")
    parser.add_argument("--steps", type=int, default=3000, help="mini-batches for each model")
    parser.add_argument("--out", type=Path, default=Path("toy_2d.png"), help="picture to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are so small that threads would only wait for each other

    splits = ring(8000, seed=0)
    figure = Figure(figsize=(9, 9), layout="constrained")
    rows = zip((PlainAutoencoder, AAE), ("autoencoder", "adversarial autoencoder"), figure.subplots(2, 2), strict=True)
    for model_class, name, (codes_axes, points_axes) in rows:
        model = model_class.create(MODEL, splits.shape, seed=0)
        train(model, splits, arguments.steps)
        print(f"{name}: {show(model, splits, codes_axes, points_axes)}")
        codes_axes.set_ylabel(name)
    figure.savefig(arguments.out, dpi=100)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()
