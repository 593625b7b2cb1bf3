"""The examples run as a newcomer would run them, with a tiny budget, and write what they say they write."""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
TOY = EXAMPLES / "toy_2d.py"


def test_no_example_is_left_out() -> None:
    assert sorted(EXAMPLES.glob("*.py")) == [TOY]


def test_the_toy_trains_both_models_and_writes_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "toy.png"
    command = [sys.executable, str(TOY), "--steps", "200", "--out", str(picture)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    plain, adversarial, last = ran.stdout.splitlines()
    assert plain.startswith("autoencoder: ")
    assert adversarial.startswith("adversarial autoencoder: ")
    assert last == f"picture: {picture}"
    # Two hundred steps are enough for the reconstruction phase to beat the mean of the data, 0.35 from every Gaussian.
    errors = [float(re.search(r"reconstruction error ([\d.]+)", line)[1]) for line in (plain, adversarial)]  # type: ignore[index]
    assert max(errors) < 0.1
    with Image.open(picture) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
    assert colours is not None
    assert len(colours) > 100  # not an empty page
