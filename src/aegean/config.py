"""Strict, frozen, serialisable configurations.

A configuration is a frozen pydantic model. It is written as YAML or JSON, read back with `yaml.safe_load`
(tags are refused, nothing in a file is ever executed), and validated in strict mode: `"3"` is not `3`.
An unknown key is an error that names the nearest known one.

The parts without learned weights (priors, likelihoods, adversaries) *are* configurations with methods, so a
recipe holds the thing itself and not a description of it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic._internal._model_construction import ModelMetaclass  # type(BaseModel), for the type checker
from pydantic_core import ErrorDetails

from aegean.errors import ConfigError, did_you_mean

#: A configuration file larger than this is refused before it is parsed.
MAX_CONFIG_BYTES = 1_000_000

#: So many characters of a wrong value are shown.
MAX_SHOWN = 80

#: Lists and mappings in a configuration file are nested no deeper than this.
MAX_DEPTH = 50

C = TypeVar("C", bound="Config")


class _ExplainErrors(ModelMetaclass):
    """Let `Gaussian(dims=2)` in Python raise the same clear `ConfigError` as the same mistake in a file."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error, cls.__name__)) from None  # type: ignore[arg-type]


class Config(BaseModel, metaclass=_ExplainErrors):
    """Base of all configurations: frozen, strict, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, protected_namespaces=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values (dicts, lists, numbers, strings), complete with every default."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the configuration as YAML, in the order of its fields."""
        text: str = yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        return text

    @classmethod
    def from_dict(cls, values: object, where: str = "configuration") -> Self:
        """Validate plain values.

        Args:
            values: what `to_dict` returned, or was read from a file.
            where: how the error names the origin of the values (a file name, say).

        Raises:
            ConfigError: a key is unknown, missing, or its value is of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}: expected keys and values, found {type(values).__name__}.")
        try:
            # JSON mode is strict and still takes a list for a tuple and an integer for a float.
            return cls.model_validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error, where)) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{where}: only numbers, text, lists and keys are allowed ({error}).") from None

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read YAML or JSON.

        Raises:
            ConfigError: the file is missing, too large, not YAML, carries tags, or does not validate.
        """
        return cls.from_dict(read_yaml(path), where=str(path))

    def override(self, changes: Mapping[str, object], where: str = "override") -> Self:
        """Return a copy with some settings changed.

        Args:
            changes: dotted keys, such as `{"train.epochs": 3}`; a value may be a whole mapping.
            where: how the error names the origin of the changes.

        Raises:
            ConfigError: a key is unknown or a value does not validate.
        """
        values = self.to_dict()
        for dotted, value in changes.items():
            target: Any = values
            *parents, last = dotted.split(".")
            for depth, key in enumerate(parents):
                target = _child(target, key, ".".join(parents[:depth]), where)
                if not isinstance(target, (dict, list)):
                    inside = ".".join(parents[: depth + 1])
                    raise ConfigError(
                        f"{where}: {inside!r} is {_shown(target)}, so {dotted!r} cannot be set inside it."
                    )
            if isinstance(target, list):
                _child(target, last, ".".join(parents), where)
                target[int(last)] = value
            else:
                target[last] = value
        return type(self).from_dict(values, where=where)


def parse_overrides(pairs: list[str]) -> dict[str, object]:
    """Turn `["train.epochs=3", "model.noise=0.3"]` into `{"train.epochs": 3, "model.noise": 0.3}`.

    Values are read as YAML scalars, lists or mappings: `null`, `true`, `[1000, 1000]`, `{kind: adam, rate: 1e-3}`.

    Raises:
        ConfigError: a pair has no `=`, or its value is not YAML.
    """
    changes: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{pair!r} is not a setting; write KEY=VALUE, for example train.epochs=3.")
        changes[key.strip()] = _load_yaml(text, where=pair)
    return changes


def read_yaml(path: str | Path) -> object:
    """Read a small YAML or JSON file without running anything in it.

    Raises:
        ConfigError: missing, unreadable, larger than `MAX_CONFIG_BYTES`, not UTF-8, or not plain YAML.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error}).") from None
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_CONFIG_BYTES} bytes; this is not a configuration.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not a text file.") from None
    return _load_yaml(text, where=str(file))


class _Dumper(yaml.SafeDumper):
    """A safe dumper that escapes those line breaks of YAML that would be read as spaces if written as they are."""


def _escaped(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if any(character in "\x85\u2028\u2029" for character in text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _escaped)


class _Loader(yaml.SafeLoader):
    """YAML without aliases (which can expand a few bytes into gigabytes) and with `1e-3` read as a number.

    The depth is bounded, because the time that PyYAML takes grows steeply with it.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        if self._depth == MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _float_or_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> object:
    """YAML 1.1 reads `1e-3` as text; everyone who writes it means a number."""
    text = loader.construct_scalar(node)
    if node.style is not None:  # quoted: text it is
        return text
    try:
        return float(text) if text[:1] in "+-.0123456789" and "e" in text.lower() else text
    except ValueError:
        return text


_Loader.add_constructor("tag:yaml.org,2002:str", _float_or_text)


def _load_yaml(text: str, where: str) -> object:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: not plain YAML ({reason}).") from None


def _child(target: Any, key: str, inside: str, where: str) -> Any:
    if isinstance(target, list):
        if key.isdigit() and int(key) < len(target):
            return target[int(key)]
        raise ConfigError(f"{where}: {inside!r} has items 0 to {len(target) - 1}, not {key!r}.")
    if key not in target:
        place = f" in {inside!r}" if inside else ""
        raise ConfigError(f"{where}: unknown key {key!r}{place}{did_you_mean(key, target)}")
    return target[key]


def _explain(cls: type[BaseModel], error: ValidationError, where: str) -> str:
    """One sentence a problem, with the dotted key, what was given, and the nearest known key."""
    return f"{where}: {' '.join(_explain_one(cls, problem) for problem in error.errors()[:5])}"


def _explain_one(cls: type[BaseModel], problem: ErrorDetails) -> str:
    *parents, last = problem["loc"] or ("",)
    path, known = _follow(cls, tuple(parents))
    key = ".".join((*path, str(last)) if str(last) in known or not _is_tag(last, known, problem) else path)
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {key!r}{did_you_mean(str(last), known)}"
        case "missing":
            return f"{key!r} is missing."
        case "value_error":
            return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
        case _:
            return f"{key!r} is {_shown(problem['input'])}: {problem['msg'][:1].lower()}{problem['msg'][1:]}."


def _shown(value: object) -> str:
    """A wrong value, which may be a whole model, in a sentence."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _is_tag(part: int | str, known: set[str], problem: ErrorDetails) -> bool:
    """Whether pydantic appended the name of a union's member, which the user never wrote, to the location."""
    return isinstance(part, str) and part not in known and problem["type"] != "extra_forbidden"


def _follow(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], set[str]]:
    """Follow pydantic's location; return it without the names of union members, and the keys known there."""
    here, path = [cls], []
    for part in loc:
        fields = [candidate.model_fields[str(part)] for candidate in here if part in candidate.model_fields]
        tagged = [candidate for candidate in here if part in _tags(candidate) or part == candidate.__name__]
        if fields:
            here = [config for field in fields for config in _configs_in(field.annotation)]
            path.append(str(part))
        elif tagged:
            here = tagged
        elif isinstance(part, int):
            path.append(str(part))
    return tuple(path), {name for candidate in here for name in candidate.model_fields}


def _tags(cls: type[BaseModel]) -> set[object]:
    kind = cls.model_fields.get("kind")
    return set(get_args(kind.annotation)) if kind else set()


def _configs_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _configs_in(argument)]
