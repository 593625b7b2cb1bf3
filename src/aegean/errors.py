"""Errors for the person who reads them: what was given, what was expected, what to do.

Every error that a user can cause is an `AegeanError`. The command line prints its message as one sentence
and ends with `exit_status`; a library user catches the class.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AegeanError(Exception):
    """Base of all errors that name their cause and their remedy."""

    exit_status = 2


class ConfigError(AegeanError, ValueError):
    """A setting is unknown, of the wrong type, or does not fit another setting."""


class DataError(AegeanError, ValueError):
    """Images or labels are missing, damaged, or do not fit together."""


class CheckpointError(AegeanError, ValueError):
    """A saved model or run is missing, damaged, or of another model."""


class OutputError(AegeanError, OSError):
    """A result cannot be written: no permission, no space, or something is already there."""


class UnsupportedError(AegeanError, TypeError):
    """The model cannot do what was asked (a Gaussian code has no classes to predict, for example)."""


class TrainingError(AegeanError, RuntimeError):
    """Training cannot go on: a loss is NaN, say. The last good checkpoint is kept."""

    exit_status = 1


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the second half of an error about an unknown name.

    Args:
        given: the name that was given.
        known: the names that would have been right.

    Returns:
        `"; did you mean 'epochs'?"` where a known name is near, else a list of the known names.
    """
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}." if names else "."
