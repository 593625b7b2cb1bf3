"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from aegean._version import __version__
from aegean.cli.app import app
from aegean.cli.show import announce_waits, complain
from aegean.errors import AegeanError, ConfigError

# Each registers its commands; their order here is that of `aegean --help`.
from aegean.cli import training, tasks, using, latent, looking  # isort: skip # noqa: F401


#: Commands that several processes can do together.
TOGETHER = ("train", "resume")


def main() -> NoReturn:
    """Run the command line; errors of use end with one sentence and status 2."""
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
