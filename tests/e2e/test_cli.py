"""The command line from end to end, in a temporary folder, as a person would use it."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from PIL import Image

from aegean import Run, experiment, recipes
from aegean.cli import SPINS, main, sleep_when_idle
from aegean.cli.app import MAX_SEED
from aegean.cli.show import complain, print_anything
from aegean.cli.using import evaluate
from aegean.config import parse_overrides
from aegean.evaluate.protocols import PROTOCOLS

TINY = [
    "train.batch_size=50", "train.labelled_batch_size=50", "train.precision=float32",
    "model.encoder.stages=[[1,3,8]]", "model.decoder.blocks=1", "model.decoder.channels=8",
    "model.discriminator.widths=[32]",
]  # fmt: skip


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def aegean(*arguments: str | Path, cwd: Path, check: int | None = 0) -> Done:
    """Run a command in this process (importing torch anew for each would take minutes)."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd(), sys.argv
    os.chdir(cwd)
    sys.argv = ["aegean", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
    code = ended.value.code
    done = Done(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())
    if check is not None:
        assert done.returncode == check, f"{arguments}: {done}"
    return done


def assert_one_sentence(done: Done) -> str:
    """Errors of use: status 2, one line on stderr, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("aegean: ")
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, `run`."""
    folder = tmp_path_factory.mktemp("home")
    done = aegean("train", "digits-pixelgan-100", "--epochs", "2", "--out", "run", *TINY, cwd=folder)
    assert re.search(r"error\s+\d", done.stdout)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six small JPEGs of one size in two class folders, and a name that is HTML."""
    rng = np.random.default_rng(0)
    for name in (
        "cats/a.png",
        "cats/<img src=x onerror=alert(1)>.png",
        "cats/c.png",
        "dogs/d.png",
        "dogs/e.png",
        "dogs/f.png",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_idle_threads_sleep_sooner_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for told in ({}, {"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "active"}):
        for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        sleep_when_idle()
        expected = told or {"GOMP_SPINCOUNT": SPINS}
        assert {name: os.environ.get(name) for name in expected} == expected
        assert ("GOMP_SPINCOUNT" in os.environ) == ("GOMP_SPINCOUNT" in expected)


def test_nothing_loads_pytorch_before_threads_are_told_to_sleep() -> None:
    code = "import sys, aegean.cli, aegean.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_folder_explains_itself(home: Path) -> None:
    run = home / "run"
    names = {path.name for path in run.iterdir()}
    assert {"README.txt", "command.txt", "environment.json", "experiment.yaml", "metrics.jsonl", "checkpoints"} <= names
    assert "aegean train digits-pixelgan-100 --epochs 2" in (run / "command.txt").read_text()
    assert "aegean resume run" in (run / "README.txt").read_text()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"reconstruct", "discriminate", "confuse", "classify", "classify/accuracy"} <= rows[0].keys()
    assert set(json.loads((run / "evaluation.json").read_text())) == {"error", "calibration_error", "nats"}
    assert {path.suffix for path in run.rglob("*") if path.is_file()} <= {
        ".txt",
        ".json",
        ".yaml",
        ".jsonl",
        ".safetensors",
    }


def test_every_command_has_help_with_an_example(home: Path) -> None:
    commands = [
        ["demo"], ["train"], ["cluster"], ["classify"], ["embed"], ["resume"], ["reproduce"], ["evaluate"], ["sample"], ["reconstruct"], ["inpaint"],
        ["encode"], ["predict"], ["report"], ["pictures"], ["transfer"], ["interpolate"], ["explore"], ["doctor"], ["tables"], ["recipes", "list"], ["recipes", "show"], ["data", "list"],
        ["data", "fetch"], ["data", "check"],
    ]  # fmt: skip
    listed = aegean("--help", cwd=home).stdout
    for command in commands:
        assert command[0] in listed
        text = aegean(*command, "--help", cwd=home).stdout
        assert re.search(rf"Examples?: aegean {' '.join(command)}", text), text


def test_the_help_of_evaluate_names_every_protocol() -> None:
    option = get_type_hints(evaluate, include_extras=True)["protocols"].__metadata__[0]
    assert re.findall(r"[a-z0-9-]+(?=[,.])", option.help.partition(":")[2].partition(" May ")[0]) == sorted(PROTOCOLS)


def test_a_run_can_be_used(home: Path) -> None:
    aegean("sample", "run", "-n", "6", "--class", "3", "--out", "threes.png", cwd=home)
    aegean("sample", "run", "-n", "6", "--out", "samples.npz", cwd=home)
    aegean("reconstruct", "run", "-n", "20", cwd=home)
    aegean("encode", "run", cwd=home)
    aegean("encode", "run", "--out", "codes.npz", cwd=home)
    aegean("predict", "run", cwd=home)
    aegean("evaluate", "run", cwd=home)
    for name in ("threes.png", "reconstructions.png"):
        with Image.open(home / name) as image:
            assert min(image.size) > 20
    with np.load(home / "samples.npz", allow_pickle=False) as arrays:
        assert (arrays["images"].shape, arrays["images"].dtype) == ((6, 8, 8, 1), np.uint8)
    with np.load(home / "codes.npz", allow_pickle=False) as arrays:
        assert arrays["codes"].shape == (360, 10)
        np.testing.assert_allclose(arrays["codes"].sum(axis=1), 1, rtol=1e-4)
    header, *rows = (home / "predictions.csv").read_text().splitlines()
    assert header == "file,label,confidence," + ",".join(f"p({k})" for k in range(10))
    assert len(rows) == 360
    name, label, confidence, *q = rows[0].split(",")
    assert (name, q[int(label)], f"{max(map(float, q)):.4f}") == ("0", confidence, confidence)
    assert sum(map(float, q)) == pytest.approx(1, abs=1e-3)
    assert len((home / "codes.csv").read_text().splitlines()) == 361


def test_the_same_seed_draws_the_same_images(home: Path) -> None:
    pixels = []
    for seed, name in ((0, "a.npz"), (0, "b.npz"), (1, "c.npz")):
        aegean("sample", "run", "-n", "4", "--seed", str(seed), "--out", name, cwd=home)
        with np.load(home / name, allow_pickle=False) as arrays:
            pixels.append(arrays["images"])
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] != pixels[2]).any()


def test_a_model_is_used_on_a_folder_of_images(home: Path, photos: Path) -> None:
    done = aegean("predict", "run", photos, "--out", "photos.csv", cwd=home)
    assert "6 predictions" in done.stdout
    assert "cats/a.png" in (home / "photos.csv").read_text()
    aegean("encode", "run", photos, "--out", "photo-codes.csv", cwd=home)
    aegean("reconstruct", "run", photos, "--out", "photos.png", cwd=home)
    assert (home / "photos.png").is_file()


def test_images_are_drawn_between_two(home: Path, photos: Path) -> None:
    a, b = photos / "cats" / "a.png", photos / "dogs" / "d.png"
    done = aegean("interpolate", "run", a, b, "-n", "3", "--out", "between.png", cwd=home)
    assert "3 images between" in done.stdout
    with Image.open(home / "between.png") as image:
        assert image.size == (5 * (48 + 3) - 3, 48)  # A, three images, B
    done = aegean("transfer", "run", a, b, cwd=home, check=None)
    assert "a category and no style" in assert_one_sentence(done)
    assert "no such file" in assert_one_sentence(aegean("interpolate", "run", a, "none.png", cwd=home, check=None))


def test_the_explorer_answers_until_ctrl_c(home: Path) -> None:
    command = [sys.executable, "-u", "-m", "aegean", "explore", "run", "--no-browser", "--n", "50"]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline()]  # `communicate` loses what is read ahead, so until the last line
        while "Ctrl-C ends" not in said[-1]:
            said.append(process.stdout.readline())
            assert said[-1], "it ended"
        url = next(line.strip() for line in said if line.startswith("http://127.0.0.1:"))
        with urllib.request.urlopen(f"{url}session", timeout=60) as reply:  # noqa: S310 - as tested above
            about = json.load(reply)
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # or leaving the block would wait for ever
    assert len(about["points"]) == 50
    assert (process.returncode, errors) == (0, "")
    assert output.strip() == "ended"
    assert output.endswith("ended\n")
    line = assert_one_sentence(aegean("explore", "nowhere", cwd=home, check=None))
    assert "no run here" in line


def test_partial_images_are_completed(home: Path, photos: Path) -> None:
    """A row an image: it, what is known of it, its completions; the known half is the same in all of them."""
    done = aegean("inpaint", "run", "--first", "3", "-n", "2", "--out", "top.png", cwd=home)
    assert "2 completions of each of 3 images: top.png" in done.stdout
    with Image.open(home / "top.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)
    assert pixels.shape == (3 * (48 + 3) - 3, 4 * (48 + 3) - 3)  # 8x8 pixels, six times as large, and gaps
    original, partial, *drawn = (pixels[:, 51 * column : 51 * column + 48] for column in range(4))
    for row in (0, 51, 102):
        for other in (partial, *drawn):
            assert (other[row : row + 24] == original[row : row + 24]).all()
        assert (partial[row + 24 : row + 48] == 128).all()
        assert any((one[row + 24 : row + 48] != original[row + 24 : row + 48]).any() for one in drawn)
    Image.fromarray(255 * np.eye(8, dtype=np.uint8)).save(home / "mask.png")
    aegean("inpaint", "run", photos, "--mask", "mask.png", "-n", "1", "--candidates", "2", "--out", "m.png", cwd=home)
    aegean("inpaint", "run", photos, "--keep", "left", "-n", "1", "--candidates", "2", "--out", "left.png", cwd=home)
    assert (home / "m.png").read_bytes() != (home / "left.png").read_bytes()


def test_the_pictures_of_the_report_are_files_too(home: Path) -> None:
    done = aegean("pictures", "run", "--only", "samples", "--only", "clusters", cwd=home)
    assert [Path(line).name for line in done.stdout.split()] == ["samples.png", "clusters.png"]
    with Image.open(home / "run" / "pictures" / "samples.png") as image:
        image.load()
        assert (image.text["Recipe"], image.text["Epochs"]) == ("digits-pixelgan-100", "2")  # type: ignore[attr-defined]
    aegean("pictures", "run", "--out", "all", cwd=home)
    assert (home / "all" / "samples.png").read_bytes() == (home / "run" / "pictures" / "samples.png").read_bytes()
    shutil.rmtree(home / "run" / "pictures")  # other tests want a folder without images


def test_the_report_is_one_page_without_requests(home: Path) -> None:
    done = aegean("report", "run", cwd=home)
    assert done.stdout.startswith("report: ")  # of bars nothing is left where there is no terminal
    assert str((home / "run" / "report.html").resolve()) in done.stdout
    page = (home / "run" / "report.html").read_text()
    assert "held-out images were labelled correctly" in page
    assert "aegean train digits-pixelgan-100" in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_a_folder_of_images_trains_from_a_configuration_file(home: Path, photos: Path) -> None:
    text = aegean("recipes", "show", "digits-pixelgan-100", cwd=home).stdout
    (home / "my.yaml").write_text(text)
    settings = [
        f"data={{kind: folder, path: '{photos}', test: 2, labels_per_class: 1}}", "model.prior.categories=2",
        "train.epochs=1", "train.batch_size=4", "name=mine",
    ]  # fmt: skip
    done = aegean("train", "my.yaml", *TINY[2:], *settings, "--out", "mine", cwd=home)
    assert "6" not in done.stderr
    aegean("report", "mine", cwd=home)
    page = (home / "mine" / "report.html").read_text()
    assert "<img src=x onerror" not in page


SMALL = ["train.precision=float32", "model.decoder.widths=[32]", "model.discriminator.widths=[32]"]


def test_a_folder_is_clustered_in_one_line(home: Path, photos: Path) -> None:
    options = ["--clusters", "2", "--epochs", "1", "--starts", "2", "--sheets", "--out", "found"]
    done = aegean("cluster", photos, *options, *SMALL, cwd=home)
    said = done.stdout
    for words in (
        "6 grey images of 8x8 pixels",
        "2 clusters, as asked.",
        "2 trainings from different beginnings; one is kept",
        "6 images are in",
        "wrote found/clusters.csv",
    ):
        assert words in said
    assert len((home / "found" / "clusters.csv").read_text().splitlines()) == 7
    page = (home / "found" / "report.html").read_text()
    assert "<img src=x onerror" not in page
    assert "of 2 was kept" in page
    for command in ("evaluate", "predict", "reconstruct"):  # it learned from all of them
        assert "holds no test images" in assert_one_sentence(aegean(command, "found", cwd=home, check=None))
    (home / "found" / "clusters.csv").unlink()
    assert "6 images are in" in aegean("resume", "found", cwd=home).stdout
    assert (home / "found" / "clusters.csv").is_file()
    aegean("predict", "found", photos, "--out", "later.csv", cwd=home)
    assert len((home / "later.csv").read_text().splitlines()) == 7


def test_an_interrupted_classifier_goes_on(home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the error is estimated: nothing of the training is lost, and resume writes the same files."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    command = ["classify", photos, "--epochs", "1", "--folds", "2", "--out", "labelled", *SMALL]
    with monkeypatch.context() as patched:
        patched.setattr("aegean.tasks.folds._predict_part", interrupted)
        done = aegean(*command, cwd=home, check=130)
    assert "Go on with: aegean resume labelled" in done.stdout
    assert not (home / "labelled" / "predictions.csv").exists()
    aegean("report", "labelled", cwd=home)  # what there is
    assert "was not estimated" in (home / "labelled" / "report.html").read_text()
    done = aegean("resume", "labelled", cwd=home)
    assert re.search(r"\d of 6 images whose label was hidden were labelled correctly", done.stdout)
    header = (home / "labelled" / "predictions.csv").read_text().splitlines()[0]
    assert header == "file,label,confidence,given,p(cats),p(dogs)"
    assert "these very labels" in assert_one_sentence(aegean(*command, cwd=home, check=2))


def test_a_map_is_drawn_in_one_line(home: Path, photos: Path) -> None:
    done = aegean("embed", photos, "--epochs", "1", "--out", "map", "model.encoder.widths=[32]", *SMALL, cwd=home)
    assert "wrote map/coordinates.csv" in done.stdout
    with Image.open(home / "map" / "map.png") as image:
        assert image.mode == "L"  # grey images


def test_resuming_equals_training_at_once(home: Path) -> None:
    """train(2) equals train(1) + resume(2), through the command line, bit for bit."""
    aegean("train", "digits-pixelgan-100", "--epochs", "1", "--out", "parts", "--threads", "1", *TINY, cwd=home)
    aegean("resume", "parts", "--epochs", "2", "--threads", "1", cwd=home)
    aegean("train", "digits-pixelgan-100", "--epochs", "2", "--out", "whole", "--threads", "1", *TINY, cwd=home)
    for name in ("model.safetensors", "trainer.safetensors"):
        parts, whole = (sorted((home / run / "checkpoints").iterdir())[-1] / name for run in ("parts", "whole"))
        assert parts.read_bytes() == whole.read_bytes()


def test_a_shorter_training_keeps_the_proportions_of_its_schedule(home: Path) -> None:
    rate = "train.optimizers.reconstruct.rate={start: 0.001, end: 0.0001, epochs: 60}"  # of 120
    aegean("train", "digits-pixelgan-100", "--epochs", "2", "--out", "short", rate, *TINY, cwd=home)
    train = Run.open(home / "short").experiment.train
    assert train.epochs == 2
    assert train.optimizers["reconstruct"].rate.epochs == 1  # type: ignore[union-attr]


def test_ctrl_c_saves_and_says_how_to_go_on(home: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [
        sys.executable,
        "-m",
        "aegean",
        "train",
        "digits-pixelgan-100",
        "--epochs",
        "500",
        "--out",
        "long",
        *TINY,
    ]
    with subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (home / "long" / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Go on with: aegean resume long" in output
    assert list((home / "long" / "checkpoints").glob("step-*"))
    done = aegean("resume", "long", "--epochs", "1", cwd=home, check=None)
    epochs = len((home / "long" / "metrics.jsonl").read_text().splitlines())
    if epochs > 1:
        assert "epochs are done already" in assert_one_sentence(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "pixelgan-mnist-10"], "did you mean 'pixelgan-mnist-100'?"),
        (["train", "none.yaml"], "none.yaml: cannot be read"),
        (["train", "digits-pixelgan-100", "train.epoch=3"], "unknown key 'train.epoch'; did you mean 'epochs'?"),
        (["train", "digits-pixelgan-100", "train.epochs=three"], "'train.epochs' is 'three'"),
        (["train", "digits-pixelgan-100", "train.epochs"], "write KEY=VALUE"),
        (["train", "digits-pixelgan-100", "data.labels_per_class=500"], "labelled training images, but 500 a class were asked"),
        (["train", "digits-pixelgan-100", "model.prior.categories=9"], "model.prior has 9 categories, the data has 10 classes"),
        (["train", "digits-pixelgan-100", "train.device=toaster"], "'toaster' cannot be used"),
        (["train", "digits-pixelgan-100", "data={kind: folder, path: nowhere}"], "nowhere"),
        (["train", "digits-pixelgan-100", "model.encoder.stages=[[1,3,8],[1,3,8],[1,3,8],[1,3,8]]"], "too small to be halved 4 times"),
        (["train", "digits-pixelgan-100", "--out", "run"], "holds a run already"),
        (["train", "digits-pixelgan-100", "--out", "/proc/none/run"], "/proc/none"),
        (["train", "digits-pixelgan-100", "train.device=meta"], "'meta' cannot be used"),
        (["train", "digits-pixelgan-100", "seed=18446744073709551616"], "'seed' is 18446744073709551616: input should be less"),
        (["train", "digits-pixelgan-100", "train.optimizers={default: {kind: adam, rate: -1.0}}"], "-1.0 is negative at some time"),
        (["resume", "nowhere"], "no run here"),
        (["evaluate", "nowhere"], "no run here"),
        (["sample", "run", "--class", "10"], "the model has the classes 0 to 9"),
        (["sample", "run", "-n", "100000", "--out", "x.gif"], "x.gif: this is written as .png or .npz, not '.gif'"),
        (["reconstruct", "run", "--out", "r.npz"], "r.npz: this is written as .png, not '.npz'"),
        (["inpaint", "run", "--out", "r.npz"], "r.npz: this is written as .png"),
        (["encode", "run", "--out", "c.png"], "c.png: this is written as .csv or .npz"),
        (["predict", "run", "--out", "x.png"], "x.png: this is written as .csv"),
        (["transfer", "run", "a.png", "b.png", "--out", "x"], "x: this is written as .png or .npz, not without an ending"),
        (["interpolate", "run", "a.png", "b.png", "--out", "x.jpg"], "x.jpg: this is written as .png or .npz"),
        (["report", "run", "--out", "r.png"], "r.png: this is written as .html"),
        (["pictures", "run", "--out", "/proc/none"], "cannot be written"),
        (["inpaint", "run", "--keep", "middle"], "write top, bottom, left, right, or the share of rows"),
        (["inpaint", "run", "--mask", "nothing.png"], "nothing.png: no such file"),
        (["predict", "run", "nowhere"], "nowhere"),
        (["encode", "run", "--out", "/proc/none/codes.csv"], "cannot be written"),
        (["data", "fetch", "mnits"], "did you mean 'mnist'?"),
        (["data", "check", "nowhere"], "nowhere"),
        (["data", "check", "run", "--size", "big"], "write height x width, as 32x32"),
        (["data", "check", "run"], "run"),
        (["tables", "nowhere.md"], "nowhere.md: cannot be read"),
        (["recipes", "show", "nothing-like-it"], "There is no recipe or file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_status_2(arguments: list[str], message: str, home: Path) -> None:
    tiny = TINY if arguments[0] == "train" and "--out" not in arguments else []
    before = sorted(path.name for path in home.iterdir())
    place = ["--out", "unwanted"] if arguments[0] == "train" and "--out" not in arguments else []
    overrides = [setting for setting in tiny if not any(setting.split("=")[0] == a.split("=")[0] for a in arguments)]
    line = assert_one_sentence(aegean(*arguments, *overrides, *place, cwd=home, check=None))
    assert message in line
    assert sorted(path.name for path in home.iterdir()) == before  # nothing was begun


def test_unknown_commands_and_options_are_errors_of_use(home: Path) -> None:
    for arguments in (["trian"], ["sample", "run", "--nothing"], ["sample"]):
        done = aegean(*arguments, cwd=home, check=2)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("out", ["x.gif", "/proc/none/x.png"])
@pytest.mark.parametrize("command", ["sample", "reconstruct", "inpaint", "encode", "transfer", "interpolate", "report"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, out: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "report":
        out = out.replace("x.png", "x.html")
    elif command == "encode":
        out = out.replace("x.png", "x.csv")
    monkeypatch.setattr(Run, "model", lambda run: pytest.fail("a model is loaded"))
    files = ["a.png", "b.png"] if command in ("transfer", "interpolate") else []
    line = assert_one_sentence(aegean(command, "run", *files, "--out", out, cwd=home, check=None))
    assert ("this is written as" if out == "x.gif" else "cannot be written") in line


@pytest.mark.parametrize("command", [["sample", "run"], ["train", "digits-pixelgan-100"], ["reproduce", "--list"]])
def test_seeds_that_pytorch_does_not_take_are_errors_of_use(command: list[str], home: Path) -> None:
    assert MAX_SEED == experiment.MAX_SEED
    option = "--first" if command[0] == "reproduce" else "--seed"
    done = aegean(*command, option, str(2**63), cwd=home, check=2)
    assert str(MAX_SEED) in done.stderr
    assert "Traceback" not in done.stderr
    if command[0] == "sample":
        aegean(*command, option, str(MAX_SEED), "-n", "1", "--out", "last-seed.png", cwd=home)


def test_a_name_that_is_not_utf_8_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for encoding in ("utf-8", "ascii")]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    print_anything()
    print("caf\udce9")
    complain("caf\xe9")
    assert [stream.buffer.getvalue() for stream in streams] == [b"caf\\udce9\n", b"aegean: caf\\xe9\n"]  # type: ignore[attr-defined]
    monkeypatch.setattr("sys.stdout", io.StringIO())  # has no encoding
    print_anything()


def test_damaged_checkpoints_are_one_sentence(home: Path) -> None:
    aegean("train", "digits-pixelgan-100", "--epochs", "1", "--out", "damaged", *TINY, cwd=home)
    (checkpoint,) = (home / "damaged" / "checkpoints").iterdir()
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "damaged or truncated" in assert_one_sentence(aegean("evaluate", "damaged", cwd=home, check=None))


def test_data_list_and_check(home: Path, photos: Path) -> None:
    listed = aegean("data", "list", cwd=home).stdout
    assert "digits" in listed
    assert "mnist" in listed
    checked = aegean("data", "check", photos, cwd=home).stdout
    assert "6" in checked
    assert "cats" in checked
    (photos / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert "broken.jpg" in aegean("data", "check", photos, cwd=home, check=1).stdout


def test_python_dash_m_aegean_is_the_command(home: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "aegean", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout)


def test_doctor_and_version(home: Path) -> None:
    text = aegean("doctor", cwd=home).stdout
    for word in ("aegean", "torch", "device", "precision", "threads"):
        assert word in text
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", aegean("--version", cwd=home).stdout.strip())


def test_reproduce_writes_records_and_the_tables_follow_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get = recipes.get
    small = get("digits-pixelgan-100").override({"train.epochs": 1, "data.validation": 50, **parse_overrides(TINY)})
    monkeypatch.setattr(recipes, "get", lambda name: small if name == "digits-pixelgan-100" else get(name))
    done = aegean("reproduce", "digits-pixelgan-100", "--seeds", "2", "--baselines", cwd=home)
    assert "seed 1" in done.stdout
    files = sorted((home / "results" / "digits-pixelgan-100").iterdir())
    assert [path.name for path in files] == ["seed-0.json", "seed-1.json"]
    record = json.loads(files[1].read_text())
    assert (record["seed"], record["epochs"], record["kind"]) == (1, 1.0, "stabilised")
    assert list(record["errors_by_epoch"]) == ["1"]
    assert record["settings"]["data"]["validation"] == 50
    assert {"error", "nats", "svm_error", "self_training_svm_error", "label_spreading_error"} <= record[
        "metrics"
    ].keys()
    changed = aegean("reproduce", "digits-pixelgan-100", "--epochs", "2", cwd=home, check=None)
    assert "other settings" in assert_one_sentence(changed)
    listed = aegean("reproduce", "--list", cwd=home).stdout
    assert all(name in listed for name in recipes.names())
    assert "seeds: 2" in listed
    wrong = aegean("evaluate", "runs/digits-pixelgan-100-seed-0", "--protocol", "parsen", cwd=home, check=None)
    assert "did you mean 'parzen'?" in assert_one_sentence(wrong)
    page = home / "page.md"
    page.write_text("# Page\n\n<!-- results:digits-pixelgan-100 | error -->\n<!-- /results -->\n")
    assert aegean("tables", "page.md", "--check", cwd=home, check=1).stdout.startswith("out of date")
    assert "updated: page.md" in aegean("tables", "page.md", cwd=home).stdout
    assert "digits-pixelgan-100" in page.read_text().split("-->")[1]
    assert not aegean("tables", "page.md", "--check", cwd=home).stdout
    files[1].write_text(json.dumps(record | {"settings": {"seed": 1, "starts": 5}}))
    warned = aegean("tables", "page.md", "--check", cwd=home)
    assert "digits-pixelgan-100, seed 1, was made with other settings: starts: 5, now 1" in warned.stderr
    assert not warned.stdout  # the figures are the record's all the same
