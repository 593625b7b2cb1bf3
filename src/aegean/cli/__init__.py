"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aegean._version import __version__
from aegean.cli.app import app
from aegean.cli.show import announce_waits, complain, print_anything
from aegean.errors import AegeanError, ConfigError

# Each registers its commands; their order here is that of `aegean --help`.
from aegean.cli import training, tasks, using, latent, looking  # isort: skip # noqa: F401


#: Commands that several processes can do together.
TOGETHER = ("train", "resume")

#: Turns that a thread without work spins, lest it miss the next piece, before it sleeps.
SPINS = "30000"


def main() -> NoReturn:
    """Run the command line; errors of use end with one sentence and status 2."""
    sleep_when_idle()
    print_anything()
    announce_waits()
    try:
        ended = app(standalone_mode=False)
    except AegeanError as error:
        complain(str(error))
        sys.exit(error.exit_status)
    except typer.Abort:
        sys.exit(130)
    except MemoryError:
        complain("Out of memory. Use a smaller batch, for example: train.batch_size=50")
        sys.exit(1)
    except Exception as error:
        # click's errors of use know how to show themselves; its class is not part of typer's interface
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(ended if isinstance(ended, int) else 0)  # what typer.Exit carries


def sleep_when_idle() -> None:
    """Tell GNU OpenMP, before PyTorch loads it, to let idle threads sleep sooner than after its 300,000 turns.

    Those take a core for milliseconds from whoever has work: other programs, and through them our own threads. What
    the user has set stays as it is.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if "WORLD_SIZE" in os.environ:
        _among_processes(context.invoked_subcommand or "")


def _among_processes(command: str) -> None:
    """Let the first of the processes that torchrun has started speak, and refuse what they cannot do together."""
    from aegean.train.distributed import launched

    rank, size = launched()
    if size > 1 and command not in TOGETHER:
        known = " and ".join(f"aegean {name}" for name in TOGETHER)
        raise ConfigError(f"aegean {command} is for one process; what torchrun can start is {known}.")
    if rank:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the program ends
