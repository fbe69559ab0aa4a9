"""The ``cadnet`` command. Imports happen inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from cadnet.signals import answered

if TYPE_CHECKING:
    from cadnet.tracking.champion import Folders
    from cadnet.tracking.registry import Registry


class Commands(TyperGroup):
    """Commands that Ctrl-C and SIGTERM end with one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the arguments name."""
        with answered():
            return super().invoke(ctx)


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


Store = Annotated[
    str | None, typer.Option(help="Address or SQLite file; else MLFLOW_TRACKING_URI, else mlflow.db.")
]


Name = Annotated[str, typer.Argument(help="Name of the product, or of its model.")]
Number = Annotated[int, typer.Option(help="Number of the version.")]
Reason = Annotated[str, typer.Option(help="Why; `cadnet models` shows it.")]


@app.callback()
def main() -> None:
    """Change-aware Siamese defect segmentation: data, training, prediction."""


def fail(error: Exception | str, code: int = 1) -> NoReturn:
    """End the command with one line on stderr instead of a traceback."""
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(code)


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; made as a whole at the end.")],
    subset: Annotated[str, typer.Option(help="line, abpt, mixed, mura, pixel or all.")] = "mixed",
    size: Annotated[int, typer.Option(help="Screen side in pixels, 32 to 4096.")] = 512,
    per_pattern: Annotated[
        int, typer.Option(help="Defective and as many clean samples of each pattern.")
    ] = 300,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    patterns: Annotated[Path, typer.Option(help="Folder of the clean patterns.")] = Path(
        "data/synlcd/patterns"
    ),
    split_list: Annotated[Path, typer.Option(help="csv pattern,split.")] = Path("splits/synlcd.csv"),
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
) -> None:
    """Generate a synthetic LCD defect dataset. Run again after an interruption to resume."""
    from pydantic import ValidationError

    from cadnet.config import SynLCDParams
    from cadnet.synthesis.patterns import PatternError
    from cadnet.synthesis.writer import write_synlcd
    from cadnet.writing.units import PreparationError

    values = {"subset": subset, "size": size, "seed": seed, "patterns": str(patterns)}
    values |= {"defective_per_pattern": per_pattern, "clean_per_pattern": per_pattern}
    try:
        params = SynLCDParams.model_validate({**values, "split_list": str(split_list)})
    except ValidationError as error:
        names = {"defective_per_pattern": "per-pattern", "clean_per_pattern": "per-pattern"}
        wrong = {str(item["loc"][0]): f"{item['input']!r}: {item['msg']}" for item in error.errors()}
        fail("; ".join(sorted({f"--{names.get(key, key)} {text}" for key, text in wrong.items()})), 2)
    try:
        write_synlcd(params, out, workers=workers, progress=True)
    except (PatternError, PreparationError, OSError, ValueError) as error:
        fail(error)
    typer.echo(f"{out} is complete", err=True)


@app.command("fetch-data")
def fetch_data(
    name: Annotated[str | None, typer.Argument(help="Dataset; without it all are listed.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the dataset's terms and accept them.")
    ] = False,
    file: Annotated[Path | None, typer.Option(help="The archive, if you have downloaded it already.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the raw data.")] = Path("data"),
    downloads: Annotated[Path, typer.Option(help="Folder of downloaded archives.")] = Path("downloads"),
) -> None:
    """Get a public dataset: show its terms, download, check, unpack. Run again to resume."""
    import sys

    from cadnet.fetching.command import run
    from cadnet.fetching.fetch import Folders
    from cadnet.fetching.sources import FetchError

    ask = typer.confirm if sys.stdin.isatty() else None
    folders = Folders(data=data, downloads=downloads)
    try:
        run(name, accept=accept_licence, file=file, folders=folders, log=typer.echo, ask=ask)
    except (FetchError, OSError) as error:
        fail(error)


@app.command("init-product")
def init_product_command(
    name: Annotated[str, typer.Argument(help="Name of the product; a-z, 0-9, _, . and -.")],
    classes: Annotated[
        str, typer.Option(help="Kinds of defects, separated by commas, in mask order.")
    ] = "scratch,dent",
    folder: Annotated[Path, typer.Option(help="Where the product's folder is made.")] = Path("data"),
) -> None:
    """Begin a dataset of your own product: a folder with a commented product.yaml to fill in."""
    from cadnet.preparers.pairs import init_product
    from cadnet.writing.units import PreparationError

    try:
        _, steps = init_product(name, [word.strip() for word in classes.split(",") if word.strip()], folder)
    except (PreparationError, OSError) as error:
        fail(error)
    typer.echo(steps, nl=False)


@app.command()
def compare(
    experiment: Annotated[
        str | None, typer.Option(help="Such as cadnet/synlcd/supervised; without it all are listed.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="miou is test_miou; may be repeated, the first one sorts.")
    ] = None,
    scale: Annotated[str, typer.Option(help="Only runs whose scale says this.")] = "",
    dataset_digest: Annotated[str, typer.Option(help="Only data whose digest begins so.")] = "",
    form: Annotated[
        Literal["table", "csv", "markdown"], typer.Option("--format", help="Output format.")
    ] = "table",
    store: Store = None,
) -> None:
    """Compare the methods of an experiment, from the tracking store alone: quality, differences, cost."""
    import shutil
    import sys

    from cadnet.tracking.compare import compare as compare_methods
    from cadnet.tracking.store import TrackingError

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    try:
        text = compare_methods(
            experiment,
            metric or ["test_miou"],
            scale=scale,
            digest=dataset_digest,
            form=form,
            store=store,
            width=width,
        )
    except TrackingError as error:
        fail(error)
    typer.echo(text, nl=False)


@app.command()
def predict(
    model: Annotated[str, typer.Option(help="Folder of a product, or models:/NAME@ALIAS of the registry.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; those of the same images are replaced.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="Images, the same as --image.")
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="File, folder or quoted pattern; may be repeated.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Name of one of the product's, or a file; else the nearest is taken.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability above which a pixel is a defect; else the product's.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Tiles that are judged at once.")] = 8,
    align: Annotated[
        bool | None,
        typer.Option("--align/--no-align", help="Bring images onto the reference; else as the product."),
    ] = None,
    register: Annotated[bool | None, typer.Option("--register/--no-register", hidden=True)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Judge images with a product's network.

    Exit code 0: all good; 1: some are defective; 2: an error, or images that could not be judged.
    """
    from cadnet.inference.command import ERROR, Request, run
    from cadnet.tracking.store import TrackingError

    def resolve(address: str) -> Path:
        from cadnet.tracking.product_logging import fetch_product

        return fetch_product(address, Path("cache/registry"))

    if register is not None:
        fail("--register is called --align now, and --no-register --no-align", ERROR)
    images = [*(image or []), *(more or [])]
    if not images:
        fail("no image; give --image with files, folders or quoted patterns", ERROR)
    request = Request(model, images, out, reference, threshold, align, batch, device)
    try:
        code = run(request, resolve=resolve, log=typer.echo, warn=lambda line: typer.echo(line, err=True))
    except (OSError, ValueError, TrackingError) as error:
        fail(error, ERROR)
    raise typer.Exit(code)


@app.command()
def models(store: Store = None) -> None:
    """List the registered models: versions, the champion, and why others were rejected."""
    from cadnet.tracking.registry import Registry
    from cadnet.tracking.store import TrackingError, resolve_store

    try:
        typer.echo(Registry(resolve_store(".", store)).describe(), nl=False)
    except TrackingError as error:
        fail(error)


def change_champion(store: str | None, change: Callable[[Registry, Folders], str]) -> None:
    """Change it in the project of the current folder and print what has happened."""
    from cadnet.inference import ProductError
    from cadnet.tracking.champion import Folders
    from cadnet.tracking.registry import Registry
    from cadnet.tracking.store import TrackingError, resolve_store

    try:
        typer.echo(change(Registry(resolve_store(".", store)), Folders()), nl=False)
    except (TrackingError, ProductError, OSError) as error:
        fail(error)


@app.command()
def rollback(
    product: Name,
    to: Annotated[int | None, typer.Option(help="Version to go back to; else the one before.")] = None,
    store: Store = None,
) -> None:
    """Make an earlier champion champion again. The same command once more changes nothing."""
    from cadnet.tracking.champion import roll_back

    change_champion(store, lambda registry, folders: roll_back(registry, product, to, folders))


@app.command()
def promote(product: Name, version: Number, reason: Reason, store: Store = None) -> None:
    """Make a version champion without the gate, for a reason that the version keeps."""
    from cadnet.tracking.champion import promote_by_hand

    change_champion(
        store, lambda registry, folders: promote_by_hand(registry, product, version, reason, folders)
    )


@app.command("retire")
def retire_command(product: Name, version: Number, reason: Reason, store: Store = None) -> None:
    """Take a version out of use; where it was champion, the one before is it again, if there is one."""
    from cadnet.tracking.champion import retire

    change_champion(store, lambda registry, folders: retire(registry, product, version, reason, folders))
