"""Imports point down: a room may import the rooms below it, and nothing above."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aegean

SOURCE = Path(aegean.__file__).parent

#: From the bottom to the top. Rooms of one line may not import each other.
LAYERS = (
    ("errors", "_version"),
    ("config", "files", "processes"),
    ("schedules",),
    ("priors", "likelihoods", "adversary", "nn"),
    ("data",),
    ("models",),
    ("train",),
    ("evaluate", "plots"),
    ("writing",),
    ("environment", "experiment"),
    ("build",),
    ("starts",),
    ("run", "recipes"),
    ("use", "choose"),
    ("report", "reproduce", "documents", "estimators", "explore"),
    ("tasks",),
    ("cli",),
)
ROOT = {"__init__", "__main__"}


def imported_rooms(path: Path) -> set[str]:
    """The rooms of aegean that a file imports, wherever in the file it does."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if node.module == "aegean":
                names = [f"aegean.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("aegean.")}
    return rooms


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(path for path in SOURCE.rglob("*.py") if room_of(path) not in ROOT)


def test_every_room_has_its_place_and_every_place_a_room() -> None:
    assert len(FILES) > 40  # the walk below does cover the package
    assert {room_of(path) for path in FILES} == {room for layer in LAYERS for room in layer}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    depth = {room: level for level, layer in enumerate(LAYERS) for room in layer}
    room = room_of(path)
    for imported in imported_rooms(path) - {room}:
        assert depth[imported] < depth[room], f"{path}: {room} imports {imported}"


def test_help_does_not_import_torch() -> None:
    code = "import sys, aegean, aegean.cli; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_imported() -> None:
    for name in aegean.__all__:
        assert getattr(aegean, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aegean.nothing
