# SPDX-License-Identifier: Apache-2.0
"""`bidhall admin …`: every call of the admin API as a command; answers are JSON on stdout.

`bidhall.cli` loads it when such a command is asked for. It must never do anything that the admin API does not: it is
a client like any other.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from bidhall.cli.client import Client, Refused

EXISTING: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
STATES: Final = ("TRADING", "HALT", "BREAK", "CANCEL_ONLY", "POST_ONLY", "AUCTION", "END_OF_DAY")


@click.group()
def commands() -> None:
    """The commands of `bidhall admin`."""


def _call(client: Client, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    try:
        answer = client.call(method, path, body)
    except Refused as refused:
        click.echo(f"Error: {refused}", err=True)
        sys.exit(1)
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, (), "")}


@commands.command()
@click.pass_obj
def state(client: Client) -> None:
    """Position, sequence, hashes, audit."""
    _call(client, "GET", "/admin/state")


@commands.command()
@click.pass_obj
def snapshot(client: Client) -> None:
    """Write a snapshot now."""
    _call(client, "POST", "/admin/snapshot", {})


@commands.group()
def asset() -> None:
    """Assets."""


@asset.command("list")
@click.pass_obj
def asset_list(client: Client) -> None:
    """All assets with their totals."""
    _call(client, "GET", "/admin/assets")


@asset.command("create")
@click.argument("name")
@click.option("--decimals", type=click.IntRange(0, 8), default=8, show_default=True)
@click.pass_obj
def asset_create(client: Client, name: str, decimals: int) -> None:
    """Create an asset."""
    _call(client, "POST", "/admin/assets", {"name": name, "decimals": decimals})


@commands.group()
def market() -> None:
    """Markets."""


@market.command("list")
@click.pass_obj
def market_list(client: Client) -> None:
    """All markets with every bound."""
    _call(client, "GET", "/admin/markets")


@market.command("create")
@click.argument("name")
@click.argument("base")
@click.argument("quote")
@click.option("--tick", required=True, help="Smallest step of a price, 0.01.")
@click.option("--step", required=True, help="Smallest step of a quantity, 0.00001.")
@click.option("--maker-rate", help="Fee of the resting side, 0.001.")
@click.option("--taker-rate", help="Fee of the other side, 0.001.")
@click.option("--notional-min", help="Smallest price x quantity.")
@click.option("--file", "file", type=click.Path(exists=True, path_type=Path), help="JSON with any field of a market.")
@click.pass_obj
def market_create(client: Client, /, name: str, base: str, quote: str, file: Path | None, **fields: str | None) -> None:
    """Create a market."""
    more: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"), parse_float=str) if file else {}
    _call(client, "POST", "/admin/markets", {**more, "name": name, "base": base, "quote": quote, **_given(**fields)})


@market.command("state")
@click.argument("name")
@click.argument("state", type=click.Choice(STATES, case_sensitive=False))
@click.pass_obj
def market_state(client: Client, name: str, state: str) -> None:
    """Open, halt or close a market."""
    _call(client, "PUT", f"/admin/markets/{quote(name, safe='')}/state", {"state": state.upper()})


@market.command("states")
@click.argument("state", type=click.Choice(STATES, case_sensitive=False))
@click.argument("names", nargs=-1)
@click.pass_obj
def market_states(client: Client, state: str, names: tuple[str, ...]) -> None:
    """Open, halt or close the markets named, or every one when none is."""
    body = {"state": state.upper(), **({"markets": list(names)} if names else {})}
    _call(client, "PUT", "/admin/state", body)


@commands.group()
def account() -> None:
    """Accounts."""


@account.command("list")
@click.pass_obj
def account_list(client: Client) -> None:
    """All accounts with their balances."""
    _call(client, "GET", "/admin/accounts")


@account.command("show")
@click.argument("account", type=int)
@click.pass_obj
def account_show(client: Client, account: int) -> None:
    """One account."""
    _call(client, "GET", f"/admin/accounts/{account}")


@account.command("create")
@click.option("--name", help="For people; not checked.")
@click.option("--balance", "balances", multiple=True, metavar="ASSET=AMOUNT", help="Deposit it at once.")
@click.option("--with-key", is_flag=True, help="Make an HMAC key too and show it, this once.")
@click.pass_obj
def account_create(client: Client, name: str | None, balances: tuple[str, ...], with_key: bool) -> None:
    """Create an account."""
    pairs = dict(_pair(text) for text in balances)
    keys = [{"key": ""}] if with_key else []
    _call(client, "POST", "/admin/accounts", _given(name=name) | {"balances": pairs, "keys": keys})


@account.command("change")
@click.argument("account", type=int)
@click.option("--permission", "permissions", multiple=True, type=click.Choice(["trade", "deposit", "withdraw", "none"]))
@click.option("--maker-rate", help='"market" for the market\'s.')
@click.option("--taker-rate", help='"market" for the market\'s.')
@click.option(
    "--trade-group", type=click.IntRange(0, (1 << 32) - 1), help="Accounts of one group are one owner; 0: none."
)
@click.pass_obj
def account_change(
    client: Client,
    /,
    account: int,
    permissions: tuple[str, ...],
    **fields: Any,
) -> None:
    """Change what an account may do (the permissions named are all it keeps), what it pays, and whose it is."""
    body = _given(**fields)
    if permissions:
        body["permissions"] = [name for name in permissions if name != "none"]
    _call(client, "PATCH", f"/admin/accounts/{account}", body)


@commands.command()
@click.argument("account", type=int)
@click.option("--market", help="Only the orders in this one.")
@click.option("--close", is_flag=True, help="It may trade no more, too.")
@click.pass_obj
def kill(client: Client, account: int, market: str | None, close: bool) -> None:
    """Cancel every open order of an account at once, whatever state its markets are in."""
    _call(client, "POST", f"/admin/accounts/{account}/kill", _given(market=market) | {"close": close})


@commands.command()
@click.argument("account", type=int)
@click.argument("asset")
@click.argument("amount")
@click.pass_obj
def deposit(client: Client, account: int, asset: str, amount: str) -> None:
    """Credit an account."""
    _call(client, "POST", f"/admin/accounts/{account}/deposits", {"asset": asset, "amount": amount})


@commands.command()
@click.argument("account", type=int)
@click.argument("asset")
@click.argument("amount")
@click.pass_obj
def withdraw(client: Client, account: int, asset: str, amount: str) -> None:
    """Debit an account's free balance."""
    _call(client, "POST", f"/admin/accounts/{account}/withdrawals", {"asset": asset, "amount": amount})


@commands.group()
def key() -> None:
    """API keys."""


@key.command("list")
@click.argument("account", type=int)
@click.pass_obj
def key_list(client: Client, account: int) -> None:
    """The keys of an account, without secrets."""
    _call(client, "GET", f"/admin/accounts/{account}/keys")


@key.command("create")
@click.argument("account", type=int)
@click.option("--key", "text", help="Its text; else the exchange makes one up.")
@click.option("--public-key", type=EXISTING, help="File: Ed25519 or RSA public key, PEM.")
@click.option("--secret-file", type=EXISTING, help="File: an HMAC secret, as bidhall keygen writes it.")
@click.option("--permission", "permissions", multiple=True, type=click.Choice(["read", "trade"]))
@click.option("--label")
@click.pass_obj
def key_create(
    client: Client,
    /,
    account: int,
    text: str | None,
    public_key: Path | None,
    secret_file: Path | None,
    permissions: tuple[str, ...],
    label: str | None,
) -> None:
    """Make a key. With neither file it signs by HMAC, and its secret is shown this once."""
    body = _given(
        key=text,
        public_key=public_key.read_text(encoding="utf-8") if public_key else None,
        secret=secret_file.read_text(encoding="utf-8").strip() if secret_file else None,
        permissions=list(permissions) or None,
        label=label,
    )
    _call(client, "POST", f"/admin/accounts/{account}/keys", body)


@key.command("disable")
@click.argument("key")
@click.pass_obj
def key_disable(client: Client, key: str) -> None:
    """Switch a key off, for ever."""
    _call(client, "DELETE", f"/admin/keys/{quote(key, safe='')}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, amount = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text}: write ASSET=AMOUNT", param_hint="--balance")
    return name, amount
