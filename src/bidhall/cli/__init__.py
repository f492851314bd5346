# SPDX-License-Identifier: Apache-2.0
"""The command line: `bidhall serve | admin | keygen | replay | sinks | verify | health | version`.

Every command imports what it needs when it runs: `serve` must answer within 300 ms of its start, and `health` runs
every few seconds in a container. Errors that a person can mend are one line on stderr and exit code 1.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from bidhall import __version__

# numpy's linear algebra starts a thread for every core when it is imported; nothing here multiplies matrices.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

FOLDER: Final = "bidhall-data"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """A spot exchange in the dialect of the Binance Spot API."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"bidhall {__version__}")


@main.command()
@click.option("--demo/--no-demo", default=None, help="Three live markets, three funded accounts with known keys.")
@click.option("--demo-seed", type=int, help="Another number, another market (1).")
@click.option("--seed-file", help="TOML or JSON: assets, markets, accounts, balances and keys for an empty exchange.")
@click.option("--log", help="sqlite:///FOLDER (sqlite:///bidhall-data), postgresql://…, or memory: for a test.")
@click.option("--data", help="Folder for snapshots and keys of this process, when the log is in a database.")
@click.option("--host", help="Where the API listens (127.0.0.1).")
@click.option("--port", type=int, help="8080; 0 takes a free one.")
@click.option("--admin-host", help="Where the admin API listens (127.0.0.1).")
@click.option("--admin-port", type=int, help="8081; 0 takes a free one.")
@click.option("--config", type=click.Path(path_type=Path), help="A TOML file with any setting.")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any setting, as door.pipeline_max=64.")
def serve(config: Path | None, changes: tuple[str, ...], **flags: Any) -> None:
    """Run an exchange.

    Every setting can also be in the environment (BIDHALL_PORT=8080, BIDHALL_DOOR__PIPELINE_MAX=64) or in the file of
    --config; flags win over the environment, the environment over the file.
    """
    from bidhall.cli.server import run
    from bidhall.settings import BadSettings, load

    try:
        settings = load({**flags, **_changes(changes)}, os.environ, config)
    except BadSettings as error:
        raise click.ClickException(str(error)) from None
    sys.exit(run(settings))


@main.command()
@click.option("--log", default=f"sqlite:///{FOLDER}", show_default=True, help="Of a server that is not running.")
def replay(log: str) -> None:
    """Apply a log to a fresh kernel at full speed and print where it ends, with the hashes."""
    from bidhall.cli.replayer import replay_log

    sys.exit(replay_log(log))


@main.command()
@click.option("--log", default=f"sqlite:///{FOLDER}", show_default=True, help="Of a server that is not running.")
@click.option("--history", type=click.Path(path_type=Path), help="The history's file, when it is not beside the log.")
@click.option("--rebuild", metavar="NAME", help="Build this sink again from the log; the old one is put aside.")
def sinks(log: str, history: Path | None, rebuild: str | None) -> None:
    """Show how far the sinks (the history) are behind the log, or build one again."""
    from bidhall.cli.sinks import run

    sys.exit(run(log, history, rebuild))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--log", help="Of a stopped exchange: sqlite:///FOLDER, when the log is in another folder.")
def verify(folder: Path | None, log: str | None) -> None:
    """Check a stopped exchange's FOLDER (bidhall-data): log, replay, money, snapshots, history. Exit code 1 at a fault.

    It changes nothing. Without FOLDER, with --log, snapshots and history are looked for beside the log.
    """
    from bidhall.cli.verify import run

    folder = folder or Path(log.removeprefix("sqlite:///") if log else FOLDER)
    sys.exit(run(folder, log))


@main.command()
@click.option("--log", required=True, help="postgresql://USER@HOST:PORT/DATABASE")
def migrate(log: str) -> None:
    """Make or update the tables of a log in a database. Run it once before a new version is rolled out."""
    from bidhall.cli.migrator import run

    sys.exit(run(log))


@main.command()
@click.argument("kind", type=click.Choice(["hmac", "ed25519", "rsa"]))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Files OUT.pem and OUT.pub.pem; of HMAC, OUT with the secret."
)
@click.option("--bits", type=click.Choice(["2048", "3072", "4096"]), default="2048", show_default=True, help="Of RSA.")
@click.option("--register", type=int, metavar="ACCOUNT", help="Give it to this account of a running exchange, at once.")
@click.option("--permission", "permissions", multiple=True, type=click.Choice(["read", "trade"]), help="Both, if none.")
@click.option("--label", help="For people.")
@click.option("--folder", default=FOLDER, show_default=True, envvar="BIDHALL_FOLDER", help="The server's folder.")
@click.option("--url", envvar="BIDHALL_ADMIN_URL", help="Of the admin API; instead of the folder's.")
@click.option("--key", "admin_key", envvar="BIDHALL_ADMIN_KEY", help="Its key; instead of the folder's.")
def keygen(kind: str, bits: str, folder: str, url: str | None, admin_key: str | None, **wanted: Any) -> None:
    """Make an API key: an HMAC secret, or an Ed25519 or RSA pair in PEM files; --register gives it to an account."""
    from bidhall.cli.client import Client
    from bidhall.cli.keygen import run

    sys.exit(run(kind, bits=int(bits), client=Client(Path(folder), url, admin_key), **wanted))


@main.command()
@click.option("--url", help="Of the API; by default the port in BIDHALL_PORT, or 8080, on this machine.")
def health(url: str | None) -> None:
    """Exit with 0 when the server is ready to trade. For a container's health check."""
    from bidhall.cli.client import is_ready

    url = url or f"http://127.0.0.1:{os.environ.get('BIDHALL_PORT', '8080')}"
    if not is_ready(url):
        click.echo("not ready", err=True)
        sys.exit(1)
    click.echo("ready")


class _Lazy(click.Group):
    """`bidhall admin`: its commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._group().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._group().get_command(ctx, cmd_name)

    def _group(self) -> click.Group:
        from bidhall.cli.operator import commands

        return commands


@main.command(cls=_Lazy)
@click.option("--folder", default=FOLDER, show_default=True, envvar="BIDHALL_FOLDER", help="The server's folder.")
@click.option("--url", envvar="BIDHALL_ADMIN_URL", help="Of the admin API; instead of the folder's.")
@click.option("--key", envvar="BIDHALL_ADMIN_KEY", help="Its key; instead of the folder's.")
@click.pass_context
def admin(context: click.Context, folder: str, url: str | None, key: str | None) -> None:
    """Operate a running exchange: assets, markets, accounts, money, keys, state."""
    from bidhall.cli.client import Client

    context.obj = Client(Path(folder), url, key)


def _changes(changes: tuple[str, ...]) -> dict[str, Any]:
    """--set a.b=c as a tree."""
    tree: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise click.BadParameter(f"{change}: write NAME=VALUE", param_hint="--set")
        *tables, last = name.split(".")
        place = tree
        for table in tables:
            place = place.setdefault(table, {})
        place[last] = value
    return tree
