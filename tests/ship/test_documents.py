# SPDX-License-Identifier: Apache-2.0
"""Documents become commands exactly, or are refused with a text that helps."""

import re
from base64 import b64encode

import msgspec
import pytest

from bidhall import seed as seeding
from bidhall.core import Exchange, records
from bidhall.demo import world
from bidhall.documents import AccountDocument, BadDocument, KeyDocument, MarketDocument, SeedDocument, convert, exact
from bidhall.seed import parse
from tests.serving import ROOT

ASSETS = {"BTC": (1, 8), "USDT": (2, 8), "JPY": (3, 0)}


@pytest.mark.parametrize(
    ("text", "decimals", "units"),
    [("1", 8, 10**8), ("0.00000001", 8, 1), ("12.50", 2, 1250), ("7.000", 0, 7), (3, 2, 300), ("0", 8, 0)],
)
def test_amounts_are_exact(text: str | int, decimals: int, units: int) -> None:
    assert exact(text, decimals, "amount") == units


@pytest.mark.parametrize("text", ["", "-1", "1e3", ".5", "5.", "0.000000001", "NaN", "١", "1_0", " 1", True, "1" * 21])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(BadDocument, match=r"amount: "):
        exact(text, 8, "amount")


def test_numbers_keep_every_digit() -> None:
    raw = b"[[accounts]]\n[accounts.balances]\nBTC = 0.12345678\nUSDT = 92233720368.54775807\n"
    assert parse(raw, "x.toml").accounts[0].balances == {"BTC": "0.12345678", "USDT": "92233720368.54775807"}
    raw = b'{"accounts": [{"balances": {"BTC": 0.12345678, "USDT": 92233720368.54775807}}]}'
    assert parse(raw, "x.json").accounts[0].balances == {"BTC": "0.12345678", "USDT": "92233720368.54775807"}


def test_a_misspelt_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadDocument, match=r"unknown name 'tik' at \$\.markets\[0\]; did you mean 'tick'\?"):
        parse(b'{"markets": [{"name": "A", "tik": 1}]}', "seed.json")


@pytest.mark.parametrize("raw", [b"{", b"[1]", b'{"assets": 3}', b"\xff"])
def test_what_is_no_document(raw: bytes) -> None:
    with pytest.raises(BadDocument):
        parse(raw, "seed.json")
    with pytest.raises(BadDocument):
        parse(raw, "seed.toml")


def market(**fields: object) -> MarketDocument:
    base = {"name": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "step": "0.00001"}
    return convert({**base, **fields}, MarketDocument)


def test_a_market_with_bounds_left_out_is_accepted() -> None:
    """Whatever the grid is, the widest bounds pass the kernel's own check."""
    grids = [("0.01", "0.00001", "BTC", "USDT"), ("0.00000001", "1", "BTC", "USDT"), ("1", "1", "BTC", "JPY")]
    for tick, step, base, quote in grids:
        exchange = Exchange()
        exchange.apply(records.configure())
        for name, (_, decimals) in ASSETS.items():
            exchange.apply(records.asset(name.encode(), decimals))
        events = exchange.apply(market(tick=tick, step=step, base=base, quote=quote).command(ASSETS))
        assert events is not None
        assert events["kind"].tolist() == [records.EventKind.MARKET], (tick, step, events["code"])


def test_fields_of_a_market_arrive() -> None:
    command = market(
        price_min="0.05", price_max="100", quantity_min="0.0001", quantity_max="9", notional_min="5", orders_max=7,
        maker_rate="0.0002", taker_rate="0", state="HALT", self_trade_prevention="NONE", notional_max="1000",
        notional_min_for_market=False, notional_max_for_market=True, market_quantity_max="2", market_step="0.0001",
    ).command(ASSETS)  # fmt: skip
    names = [name for name, _ in records.MARKET_FIELDS]
    row = dict(zip(names, records.MARKET_STRUCT.unpack(command), strict=True))
    assert (row["price_ticks_min"], row["price_ticks_max"]) == (5, 10_000)
    assert (row["quantity_steps_min"], row["quantity_steps_max"]) == (10, 900_000)
    assert (row["market_quantity_steps_min"], row["market_quantity_steps_max"]) == (10, 200_000)
    assert (row["notional_units_min"], row["notional_units_max"], row["notional_flags"]) == (5 * 10**8, 10**11, 2)
    assert (row["maker_rate_e8"], row["taker_rate_e8"], row["orders_max"]) == (20_000, 0, 7)
    assert (row["state"], row["self_trade_prevention"], row["market_step_steps"]) == (2, 1, 10)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"base": "BTX"}, "unknown asset 'BTX'; did you mean 'BTC'"),
        ({"price_min": "0.005"}, "price_min: 0.005 is no multiple of the market's tick"),
        ({"tick": "0"}, "above 0"),
        ({"quote": "JPY"}, "no whole number of the quote asset's smallest unit"),
        ({"name": ""}, "the name is empty"),
        ({"name": "X" * 37}, "at most 36 bytes"),
        ({"state": "OPEN"}, "state: unknown 'OPEN'"),
        ({"self_trade_preventions": ["SOME"]}, "self_trade_preventions: unknown 'SOME'"),
    ],
)
def test_markets_that_cannot_be(fields: dict[str, object], text: str) -> None:
    with pytest.raises(BadDocument, match=text.replace("(", r"\(")):
        market(**fields).command(ASSETS)


def test_the_seed_in_readme_is_one() -> None:
    block = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    document = parse(block[1].encode(), "seed.toml")
    exchange = Exchange()
    for group in groups_of(document, {}, 1):
        events = exchange.apply(group)
        assert events is not None
        assert records.EventKind.REJECTED not in events["kind"].tolist()
    assert exchange.balances(1) == [(1, 10 * 10**8, 0), (2, 10**14, 0)]


def groups_of(document: SeedDocument, assets: dict[str, tuple[int, int]], account: int) -> list[bytes]:
    """Without keys: there is no registry here."""
    bare = [msgspec.structs.replace(one, keys=[]) for one in document.accounts]
    whole = msgspec.structs.replace(document, accounts=bare)
    return [document.limits.command(), *seeding._content(whole, None, assets, account)]  # type: ignore[arg-type]


ED25519 = b64encode(bytes(range(32))).decode()


def test_a_key_signs_in_one_way() -> None:
    assert KeyDocument(key="k", secret="s").signing() == ("hmac", b"s")
    assert KeyDocument(key="k", public_key=ED25519).signing() == ("ed25519", bytes(range(32)))
    for key, words in (
        (KeyDocument(key="k"), "either secret"),
        (KeyDocument(key="k", secret="s", public_key=ED25519), "either secret"),
        (KeyDocument(key="k", public_key="p"), "public_key"),
    ):
        with pytest.raises(BadDocument, match=f"key k: .*{words}"):
            key.signing()


def test_the_filters_of_a_market() -> None:
    names = [name for name, _ in records.MARKET_FIELDS]

    def row(**fields: object) -> dict[str, int]:
        return dict(zip(names, records.MARKET_STRUCT.unpack(market(**fields).command(ASSETS)), strict=True))

    wide = row()
    assert (wide["iceberg_parts_max"], wide["iceberg_orders_max"], wide["position_units_max"]) == (100, 0, 0)
    assert (wide["algo_orders_max"], wide["orders_max"], wide["notional_flags"] & 4) == (5, 200, 0)
    multipliers = [name for name in names if "multiplier" in name]
    assert [wide[name] for name in multipliers] == [0, 0, 0, 0]
    assert wide["self_trade_preventions"] == 0b111111
    sided = row(
        bid_multiplier_up="1.5", bid_multiplier_down="0.2", ask_multiplier_up="5", ask_multiplier_down="0.0001",
        position_max="2.5", iceberg_orders_max=3, iceberg_parts_max=7,
    )  # fmt: skip
    assert [sided[name] for name in multipliers] == [15_000, 2_000, 50_000, 1]
    assert (sided["position_units_max"], sided["iceberg_orders_max"], sided["iceberg_parts_max"]) == (25 * 10**7, 3, 7)
    shared = row(multiplier_up="1.3", multiplier_down="0.7")
    assert [shared[name] for name in multipliers] == [13_000, 7_000, 13_000, 7_000]
    assert shared["notional_flags"] & 4
    one = market(multiplier_up="1.3", ask_multiplier_up="2")
    with pytest.raises(BadDocument, match="give either ask_multiplier_up or multiplier_up"):
        one.command(ASSETS)


def test_the_demo_has_the_filters_of_the_real_exchange() -> None:
    for document in world.document().markets:
        assert document.command({"BTC": (1, 8), "ETH": (2, 8), "USDT": (3, 8)})
        assert (document.iceberg_parts_max, document.algo_orders_max, document.orders_max) == (100, 5, 200)
        assert (document.bid_multiplier_up, document.ask_multiplier_down) == ("5", "0.2")


def test_a_trade_group() -> None:
    document = convert({"name": "a", "trade_group": 9}, AccountDocument)
    names = [name for name, _ in records.ACCOUNT_FIELDS]
    assert dict(zip(names, records.ACCOUNT_STRUCT.unpack(document.command()), strict=True))["trade_group"] == 9


def test_the_keys_of_the_demo_look_like_keys() -> None:
    for person in world.PEOPLE:
        assert len(world.key_of(person)) == len(world.secret_of(person)) == 64
    assert world.key_of("alice") == "alice" * 12 + "demo"


def test_an_empty_document_sets_the_limits_only() -> None:
    assert SeedDocument().limits.command() == records.configure()
