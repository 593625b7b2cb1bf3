"""Whatever bytes a file holds, a parser of ours gives a value or an AegeanError: no other exception, no endless memory."""

import gzip
import io
import json
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from scipy.io import savemat

from aegean.config import read_yaml
from aegean.data import Arrays, Folder
from aegean.data.cifar import _read_archive
from aegean.data.files import parse_idx
from aegean.data.labels import read_labels
from aegean.data.matlab import read_mat
from aegean.data.norb import _entries
from aegean.errors import AegeanError, CheckpointError, ConfigError
from aegean.evaluate.records import RunRecord, read_records
from aegean.models import Model, VAEConfig, create
from aegean.models.base import read_tensors
from aegean.train.checkpoint import load_trainer_state
from aegean.train.log import read_metrics
from conftest import SMALL_MODELS

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)
CASES = 36
#: Python and NumPy take no more than this for any of these small files.
MOST_BYTES = 300_000_000


def _idx() -> bytes:
    return b"\0\0\x08\x03" + struct.pack(">III", 3, 8, 8) + PIXELS.tobytes()


def _mat() -> bytes:
    raw = io.BytesIO()
    savemat(raw, {"X": RNG.integers(0, 256, (4, 4, 3, 5), dtype=np.uint8)}, do_compression=True)
    return raw.getvalue()


def _norb() -> bytes:
    return gzip.compress(struct.pack("<II3i", 0x1E3D4C54, 1, 30, 1, 1) + np.arange(30, dtype="<i4").tobytes())


def _cifar() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = 3073
            archive.addfile(member, io.BytesIO(bytes(3073)))
    return raw.getvalue()


def _zip() -> bytes:
    raw, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(PIXELS[0]).save(png, "PNG")
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/x.png", "b/y.png"):
            archive.writestr(name, png.getvalue())
    return raw.getvalue()


def _array(write: Callable[..., None], *args: object, **arrays: object) -> bytes:
    raw = io.BytesIO()
    write(raw, *args, **arrays)
    return raw.getvalue()


def _record() -> bytes:
    values = RunRecord(
        recipe="r", kind="faithful", seed=0, epochs=1, steps=1, minutes=1, hardware="h", threads=1, python="3",
        torch="2", aegean="0", metrics={"error": 1.0}, command="c", date=__import__("datetime").date(2026, 1, 1),
    ).to_dict()  # fmt: skip
    return json.dumps(values).encode()


def _model(path: Path) -> None:
    weights = save(create(VAEConfig.from_dict(SMALL_MODELS["vae"].to_dict()), (1, 8, 8), 0, 0).state_dict())
    (path.parent / "model.safetensors").write_bytes(weights)
    Model.from_pretrained(path.parent)


def _description() -> bytes:
    values = {"format": 1, "model": SMALL_MODELS["vae"].to_dict(), "shape": [1, 8, 8], "classes": 0}
    return json.dumps(values, indent=1).encode()


def _trainer(path: Path) -> None:
    (path.parent / "trainer.safetensors").write_bytes(save({"rng": torch.zeros(3)}))
    load_trainer_state(path.parent)


def _trainer_values() -> bytes:
    values = {"step": 3, "steps_per_epoch": 3, "seconds": 1.5, "counts": {"a": 1}, "ema_steps": 0}
    return json.dumps(values | {"health": {}, "warnings": []}).encode()


def _zip_of_arrays(path: Path) -> None:
    Folder(path=str(path)).read()


#: For each parser: the name of its file, a whole file, and how it is read.
PARSERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "idx": ("a.idx", _idx, lambda path: parse_idx(path.read_bytes(), str(path))),
    "matlab": ("a.mat", _mat, lambda path: read_mat(path, "X", {"X": (4, 4, 3, None)})),
    "norb": ("a.gz", _norb, lambda path: list(_entries(path, "<i4", ()))),
    "cifar": ("a.tar.gz", _cifar, _read_archive),
    "zip": ("a.zip", _zip, lambda path: Folder(path=str(path)).read()),
    "npy": ("a.npy", lambda: _array(np.save, PIXELS), lambda path: Folder(path=str(path)).read()),
    "npz": ("a.npz", lambda: _array(np.savez_compressed, images=PIXELS, labels=np.arange(3)), _zip_of_arrays),
    "arrays": ("a.npz", lambda: _array(np.savez, images=PIXELS), lambda path: Arrays(path=str(path)).read()),
    "labels": ("a.csv", lambda: 'file,label\na.png,cat\n"b ""x"".png",dog\n=c.png,é\n'.encode(), read_labels),
    "table": ("a.tsv", lambda: b"file\tlabel\na.png\tcat\nb.png\t\n", lambda path: Folder(path=str(path)).read()),
    "safetensors": ("a.safetensors", lambda: save({"a": torch.zeros(3, 4), "b": torch.ones(2)}), read_tensors),
    "yaml": ("a.yaml", lambda: b"kind: folder\npath: photos\nsize: [3, 4]\ntest: 1e-1\n", Folder.from_file),
    "record": ("r/seed-0.json", _record, lambda path: read_records(path.parent.parent)),
    "description": ("config.json", _description, _model),
    "trainer": ("trainer.json", _trainer_values, _trainer),
    "metrics": ("metrics.jsonl", lambda: b'{"epoch": 1, "step": 3}\n{"epoch": 2, "step": 6}\n', read_metrics),
}


def damaged(whole: bytes, seed: int) -> Iterator[bytes]:
    """Yield the file with bytes changed, cut off, inserted, or filled with what parsers stumble over."""
    rng = random.Random(seed)
    yield b""
    yield b"\0" * 64
    yield b"[" * 2_000
    yield b"{" * 2_000
    for case in range(CASES):
        raw = bytearray(whole)
        start = rng.randrange(len(raw))
        match case % 6:
            case 0:
                raw[start] ^= 1 << rng.randrange(8)
            case 1:
                raw[start : start + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
            case 2:
                del raw[start:]
            case 3:
                raw[start:start] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                for _ in range(10):
                    raw[rng.randrange(len(raw))] = rng.randrange(256)
            case _:  # the header alone, where lies are told
                raw[rng.randrange(min(64, len(raw)))] = rng.randrange(256)
        yield bytes(raw)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_give_a_value_or_an_aegean_error(tmp_path: Path, name: str) -> None:
    file, make, read = PARSERS[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    for neighbour in ("a.png", "b.png"):
        Image.fromarray(PIXELS[0]).save(tmp_path / neighbour)
    whole = make()
    path.write_bytes(whole)
    read(path)  # what is not damaged is read
    refused = 0
    if not file.endswith(("json", "jsonl", "yaml")):  # those are bounded as a whole, and slow to trace
        tracemalloc.start()
    try:
        for raw in damaged(whole, zlib.crc32(name.encode())):
            path.write_bytes(raw)
            try:
                read(path)
            except AegeanError:
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES  # 0 where nothing is traced
    finally:
        tracemalloc.stop()
    assert refused > 5 or name == "metrics"  # of which the damaged end is left out


# ---- lies that deserve a case of their own -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [1 << 63, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "PICKLE", "shape": [2], "data_offsets": [0, 8]}},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
    ],
)
def test_safetensors_headers_that_lie(tmp_path: Path, header: dict[str, object]) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(CheckpointError, match=r"a.safetensors: damaged or truncated"):
        read_tensors(tmp_path / "a.safetensors")
    for length in (0, 1 << 40, (1 << 64) - 1):
        (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + text)
        with pytest.raises(CheckpointError, match=r"a.safetensors: damaged or truncated"):
            read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "a: !!python/name:os.system",
        "a: !!python/object/new:subprocess.Popen [[touch, {marker}]]",
        "a: !custom x",
        "a: &a [x]\nb: *a",
    ],
)
def test_yaml_tags_and_aliases_run_nothing(tmp_path: Path, text: str) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "a.yaml").write_text(text.format(marker=marker))
    with pytest.raises(ConfigError, match=r"a.yaml"):
        read_yaml(tmp_path / "a.yaml")
    assert not marker.exists()


def test_a_model_larger_than_any_machine_is_refused(tmp_path: Path) -> None:
    values = json.loads(_description())
    for shape in ([1, 1 << 30, 1 << 30], [1, -8, 8], [0, 8, 8]):
        (tmp_path / "config.json").write_text(json.dumps(values | {"shape": shape}))
        with pytest.raises(CheckpointError, match=r"config.json"):
            Model.from_pretrained(tmp_path)
