"""`jepa-bundle`: check, show, compare, sign and verify bundles.

Exit codes: 0 fine, and for diff the same; 1 refused, and for diff different; 2 wrong usage, and for diff a bundle that
does not open.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jepa_ros.bundle import signing
from jepa_ros.bundle.card import bundle_card
from jepa_ros.bundle.card_page import card_page
from jepa_ros.bundle.checks import check_bundle
from jepa_ros.bundle.difference import bundle_differences
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.robots import load_robot

_REFUSED, _DIFFERENT, _ERROR = 1, 1, 2
_PAGE_COLUMNS = 160

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)

BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="folder of the bundle")]
Password = Annotated[bool, typer.Option("--password", help="ask for the password that encrypts the private key")]


@app.command()
def check(
    bundle: BundleFolder,
    provider: Annotated[
        str | None,
        typer.Option(help="execution provider of ONNX Runtime, by its full name; default: each that works here"),
    ] = None,
) -> None:
    """Check hashes, the graphs' inputs and outputs, and the golden outputs on each provider.

    Prints a line for each, with the error measured and the error allowed. Exits 1 with one sentence on what does not
    hold.
    """
    console = _console()
    with _refusing(console):
        for finding in check_bundle(bundle, provider):
            console.print(f"[green]ok[/green]  {escape(finding.what)}: {escape(finding.how)}", soft_wrap=True)


@app.command()
def show(
    bundle: BundleFolder,
    robot: Annotated[
        str, typer.Option(help="name or YAML of a robot; says which of its motions takes the action")
    ] = "go2",
    as_json: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> None:
    """Say what a bundle is, what one plan costs, and what a robot needs to run it.

    Operations are counted from the graphs' shapes, two a multiply-add; nothing is run. Exits 1 where the bundle does
    not open.
    """
    console = _console()
    with _refusing(console):
        card = bundle_card(load_bundle(bundle), load_robot(robot))
        if as_json:
            typer.echo(json.dumps(card, indent=1, ensure_ascii=False))
        else:
            console.print(card_page(card))


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="folder of a bundle")],
    second: Annotated[Path, typer.Argument(metavar="B", help="folder of another")],
) -> None:
    """Compare two bundles: fields of the manifests, files, and the graphs' inputs, outputs, operators and weights.

    Exits 0 where they are the same but for README.md, 1 where they differ, 2 where one does not open.
    """
    console = _console()
    with _refusing(console, _ERROR):
        found = bundle_differences(load_bundle(first), load_bundle(second))
        if not found:
            console.print("the same")
            return
        table = Table("", escape(str(first)), escape(str(second)))
        for row in found:
            table.add_row(escape(row.where), escape(row.first), escape(row.second))
        console.print(table)
        raise typer.Exit(_DIFFERENT)


@app.command()
def keygen(
    out: Annotated[Path, typer.Option(metavar="KEY", help="file of the private key; the public one becomes KEY.pub")],
    password: Password = False,
) -> None:
    """Make a pair of ed25519 keys in PEM: KEY, readable by you only, to sign with, and KEY.pub for robots to trust.

    Nothing is overwritten. Exits 1 where a file exists already.
    """
    console = _console()
    with _refusing(console):
        from jepa_ros.bundle import keys

        made = keys.make_keys(out, _ask(confirm=True) if password else None)
        console.print(f"{escape(str(out))} and {escape(out.name)}.pub: key {made}", soft_wrap=True)


@app.command()
def sign(
    bundle: BundleFolder,
    key: Annotated[Path, typer.Option(metavar="KEY", help="PEM file of the private key")],
    password: Password = False,
) -> None:
    """Sign a bundle: its manifest, and through the hashes in it every file but README.md.

    Writes manifest.yaml.sig into the bundle. Exits 1 where bundle or key cannot be used.
    """
    console = _console()
    with _refusing(console):
        made = signing.sign_bundle(bundle, key, _ask(confirm=False) if password else None)
        console.print(f"{escape(str(bundle))}: signed by key {made}", soft_wrap=True)


@app.command()
def verify(
    bundle: BundleFolder,
    trust: Annotated[list[Path], typer.Option(metavar="PUB", help="public key to trust; may be repeated")],
) -> None:
    """Verify that one of the trusted keys signed a bundle, and that every file is what was signed.

    Exits 1 with one sentence where that is not so.
    """
    console = _console()
    with _refusing(console):
        signer = signing.verify_bundle(bundle, trust)
        console.print(f"[green]ok[/green]  {escape(str(bundle))}: signed by key {signer}", soft_wrap=True)


@contextmanager
def _refusing(console: Console, code: int = _REFUSED) -> Iterator[None]:
    """Turn an error into its sentence and an exit code."""
    try:
        yield
    except JepaRosError as error:
        console.print(f"[red]jepa-bundle: {escape(str(error))}[/red]", soft_wrap=True)
        raise typer.Exit(code) from error


def _ask(*, confirm: bool) -> bytes:
    return str(typer.prompt("password", hide_input=True, confirmation_prompt=confirm)).encode()


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PAGE_COLUMNS)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
