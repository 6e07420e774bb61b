"""`nalu data`: the project's own data sets, and a public one."""

from pathlib import Path
from typing import Annotated

import typer

from training.terminal import console

data_app = typer.Typer(help="Make the project's own data sets, or download a public one.", no_args_is_help=True)
make_app = typer.Typer(help="Make a data set and write it to a file.", no_args_is_help=True)
data_app.add_typer(make_app, name="make")
download_app = typer.Typer(help="Download a public data set and check it.", no_args_is_help=True)
data_app.add_typer(download_app, name="download")


@make_app.command("forging")
def make_forging(
    out: Annotated[Path, typer.Option(help="CSV, Parquet or Arrow file to write; replaced if it exists.")],
    rows: Annotated[int, typer.Option(help="Rows to draw.", min=1)] = 113_000,
    seed: Annotated[int, typer.Option(help="Same seed, same table.", min=0)] = 0,
) -> None:
    """Make the synthetic forging data: 28 inputs from steelmaking to tempering, three mechanical properties.

    It is a stand-in drawn by formulas, not measurements of real forgings; docs/data-forging.md says which formulas.
    """
    from models.contract.table_writer import check_output
    from training.tasks.forging import FORGING_TARGETS, SYNTHETIC_NOTE, forging_noise_mae
    from training.tasks.forging import make_forging as write

    check_output(out)
    write(out, rows, seed)
    floor = forging_noise_mae(rows, seed)
    console.print(f"wrote {rows} rows to {out}")
    console.print(f"{SYNTHETIC_NOTE} The scatter drawn leaves every model a mean absolute error of at least:")
    for name in FORGING_TARGETS:
        console.print(f"  {name} {floor[name]:.3f}")
    options = " ".join(f"--target {name}" for name in FORGING_TARGETS)
    console.print(f"train on it: nalu train table {out} {options}")


@download_app.command("mnist")
def download_mnist_files(
    out: Annotated[Path, typer.Option(help="Folder for the four files; NALU_DATA_DIR then names it.")],
) -> None:
    """Download the MNIST digits (12 MB) and check their SHA-256; files that are there and whole are left as they are.

    They come from where torchvision gets them; `nalu reproduce digits --full` learns from them.
    """
    from training.digit_images import MNIST_FILES, MNIST_URL, download_mnist
    from training.named_data import DATA_DIR_VARIABLE

    got = download_mnist(out)
    console.print(f"{len(MNIST_FILES)} files are whole in {out}, {len(got)} of them new from {MNIST_URL}")
    console.print(f"read them with {DATA_DIR_VARIABLE}={out}")
