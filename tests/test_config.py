"""Configurations: strict, frozen, round trip, and errors that name the nearest key."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from aegean.config import MAX_CONFIG_BYTES, Config, parse_overrides, read_yaml
from aegean.errors import ConfigError


class Small(Config):
    kind: Literal["small"] = "small"
    width: int = 3


class Large(Config):
    kind: Literal["large"] = "large"
    heights: tuple[int, ...] = (1, 2)
    rate: float = Field(default=1.0, gt=0)


class Whole(Config):
    part: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    table: dict[str, Small] = {}
    name: str | None = None


@given(st.integers(), st.lists(st.integers()), st.floats(min_value=1e-9, max_value=1e9), st.none() | st.text())
@example(0, [], 1.0, "\x85")  # line breaks of YAML's
@example(0, [], 1.0, "a\u2028b\u2029")
@settings(max_examples=40, deadline=None)
def test_round_trip_through_yaml(width: int, heights: list[int], rate: float, name: str | None) -> None:
    for part in (Small(width=width), Large(heights=tuple(heights), rate=rate)):
        whole = Whole(part=part, table={"a": Small(width=width)}, name=name)
        assert Whole.from_dict(whole.to_dict()) == whole
        assert Whole.from_dict(parse_overrides([f"x={whole.to_yaml()}"])["x"]) == whole


def test_files_round_trip_as_yaml_and_json(tmp_path: Path) -> None:
    whole = Whole(part=Large(rate=1e-3))
    for name, text in (("a.yaml", whole.to_yaml()), ("a.json", whole.model_dump_json())):
        (tmp_path / name).write_text(text)
        assert Whole.from_file(tmp_path / name) == whole


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("part.widht=4", r"unknown key 'part.widht'; did you mean 'width'\?"),
        ("prt.width=4", r"unknown key 'prt'; did you mean 'part'\?"),
        ("part.width=four", r"'part.width' is 'four': input should be a valid integer"),
        ("part.width='4'", r"'part.width' is '4'"),
        ("part={kind: large, rate: '1e3'}", r"'part.rate' is '1e3'"),
        ("part.width=4.5", r"'part.width' is 4.5"),
        ("part.width.x=1", r"'part.width' is 3, so 'part.width.x' cannot be set"),
        ("part={kind: large, rate: -1}", r"'part.rate' is -1: input should be greater than 0"),
        ("part={kind: large, heights: [1, b]}", r"'part.heights.1' is 'b'"),
        ("part={kind: huge}", r"does not match any of the expected tags: 'small', 'large'"),
        ("part=3", r"'part' is 3"),
        (f"part.width={'x' * 1000}", r"^override: 'part.width' is 'x{76}\.\.\.: input should be a valid integer"),
        (f"part={{kind: huge, width: {'x' * 1000}}}", r"^override: 'part' is \{.{76}\.\.\.: .{1,100}$"),
        ("part", r"write KEY=VALUE"),
        ("part.width=[", r"not plain YAML"),
        ("part.width=!!python/object/apply:os.system [ls]", r"not plain YAML"),
        ("part=[&a x, *a]", r"aliases"),
    ],
)
def test_a_mistyped_override_is_one_clear_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Whole().override(parse_overrides([override]))


def test_overrides_reach_into_tables_and_lists() -> None:
    whole = Whole(part=Large(), table={"a": Small()})
    changed = whole.override(parse_overrides(["part.heights.1=7", "part.rate=1e-3", "table.a.width=9", "name=null"]))
    assert changed.part == Large(heights=(1, 7), rate=1e-3)
    assert changed.table["a"].width == 9
    with pytest.raises(ConfigError, match=r"'part.heights' has items 0 to 1, not '2'"):
        whole.override({"part.heights.2": 1})


def test_python_and_files_raise_the_same_error() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'widht'; did you mean 'width'\?"):
        Small(widht=3)
    with pytest.raises(ConfigError, match=r"unknown key 'part.widht'; did you mean 'width'\?"):
        Whole.from_dict({"part": {"kind": "small", "widht": 3}})


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Small().width = 4  # type: ignore[misc]


def test_unreadable_files_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="not a configuration"):
        read_yaml(tmp_path / "big.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        read_yaml(tmp_path / "binary.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="expected keys and values, found list"):
        Whole.from_file(tmp_path / "list.yaml")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_configuration_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(raw)
    try:
        Whole.from_file(path)
    except ConfigError as error:
        assert str(path) in str(error)  # noqa: PT017 - not raising is right, too
