"""The command, its two groups of subcommands, and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cluster, label, embed and draw images with adversarially trained generative autoencoders.",
    epilog="Start with: [bold]aegean demo[/bold]",
)
recipes_app = typer.Typer(no_args_is_help=True, help="The recipes: complete experiments by name.")
data_app = typer.Typer(no_args_is_help=True, help="The data sets that Aegean knows, and your own folders.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")

#: The largest seed; as in `aegean.experiment`, which would bring PyTorch along.
MAX_SEED = 2**63 - 1

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, as aegean train made it.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of what is drawn.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (default: all cores).")]
Images = Annotated[
    Path | None,
    typer.Argument(metavar="[IMAGES]", help="Folder of images; left out, the run's own test images are used."),
]
