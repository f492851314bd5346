# SPDX-License-Identifier: Apache-2.0
"""What the demo's exchange consists of: three markets, three people with keys, and the accounts of the house.

`demo/agents.py` and the command line read it. The people's keys are the same on every machine, so that examples can be
copied; they open play money and nothing else. Never use them for an exchange that others rely on.
"""

from typing import Any, Final, NamedTuple

from bidhall.documents import AccountDocument, AssetDocument, KeyDocument, MarketDocument, SeedDocument

PEOPLE: Final = ("alice", "bob", "carol")
PEOPLE_BALANCES: Final = (
    {"BTC": "10", "ETH": "100", "USDT": "1000000"},
    {"BTC": "10", "ETH": "100", "USDT": "1000000"},
    {"BTC": "1", "ETH": "20", "USDT": "100000"},
)

# Who makes the market, and what each is brought back to when it has much less or much more.
MAKER: Final = "demo-maker"
DEEP_MAKER: Final = "demo-deep-maker"
TAKER: Final = "demo-taker"
ARBITRAGEUR: Final = "demo-arbitrageur"
HOUSE_BALANCES: Final = {
    MAKER: {"BTC": "1000", "ETH": "20000", "USDT": "100000000"},
    DEEP_MAKER: {"BTC": "5000", "ETH": "100000", "USDT": "500000000"},
    TAKER: {"BTC": "200", "ETH": "4000", "USDT": "20000000"},
    ARBITRAGEUR: {"BTC": "1000", "ETH": "20000", "USDT": "100000000"},
}


# What a price may be away from the average price, as on the real exchange.
MULTIPLIERS: Final[dict[str, Any]] = {
    "bid_multiplier_up": "5", "bid_multiplier_down": "0.2", "ask_multiplier_up": "5", "ask_multiplier_down": "0.2",
}  # fmt: skip


class Style(NamedTuple):
    """How agents trade in one market; prices in ticks, quantities in steps."""

    symbol: str
    start_ticks: int
    rung_ticks: int  # between two prices of the near maker
    deep_rung_ticks: int  # between two prices of the deep maker
    rung_steps: int  # what the near maker shows at one price, more or less
    trade_steps: int  # the largest order of the taker


STYLES: Final = (
    Style("BTCUSDT", 6_500_000, 800, 6_000, 20_000, 8_000),
    Style("ETHUSDT", 325_000, 45, 320, 40_000, 15_000),
    Style("ETHBTC", 5_000, 1, 7, 5_000, 1_500),
)


def key_of(person: str) -> str:
    """64 characters, as Binance's: "alice" * 12 + "demo"."""
    return person * (60 // len(person)) + "demo"


def secret_of(person: str) -> str:
    """64 characters: "demo" + "alice" * 12."""
    return "demo" + person * (60 // len(person))


def document() -> SeedDocument:
    """The whole world as a seed document."""
    people = [
        AccountDocument(
            name=name, balances=dict(balances), keys=[KeyDocument(key=key_of(name), secret=secret_of(name), label=name)]
        )
        for name, balances in zip(PEOPLE, PEOPLE_BALANCES, strict=True)
    ]
    house = [
        AccountDocument(name=name, balances=dict(balances), maker_rate="0", taker_rate="0")
        for name, balances in HOUSE_BALANCES.items()
    ]
    return SeedDocument(
        assets=[AssetDocument(name=name) for name in ("BTC", "ETH", "USDT")],
        markets=[
            MarketDocument(
                name="BTCUSDT", base="BTC", quote="USDT", tick="0.01", step="0.00001", price_min="0.01",
                price_max="1000000", quantity_min="0.00001", quantity_max="9000", notional_min="5", **MULTIPLIERS,
            ),
            MarketDocument(
                name="ETHUSDT", base="ETH", quote="USDT", tick="0.01", step="0.0001", price_min="0.01",
                price_max="1000000", quantity_min="0.0001", quantity_max="9000", notional_min="5", **MULTIPLIERS,
            ),
            # A step of 0.0001, as Binance has it, times a tick of 0.00001 would be less than the smallest unit of BTC.
            MarketDocument(
                name="ETHBTC", base="ETH", quote="BTC", tick="0.00001", step="0.001", price_min="0.00001",
                price_max="1000", quantity_min="0.001", quantity_max="100000", notional_min="0.0001",
                **MULTIPLIERS,
            ),
        ],
        accounts=[*people, *house],
    )
