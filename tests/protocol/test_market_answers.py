# SPDX-License-Identifier: Apache-2.0
"""exchangeInfo, depth, trades, candles, tickers: shapes by the SDK and ccxt, numbers by their own consistency."""

from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.core import records
from bidhall.core.records import MarketState
from bidhall.protocol import events, market_answers
from bidhall.protocol.markets import Asset, Market
from tests.protocol.clients import accepted, checked, exchange_of
from tests.protocol.places import MS, TIME_NS, a_market, market_command, market_of

MARKET = a_market()
LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
]
TRADE = (57, TIME_NS, 6_543_210, 12_345, True)
AGG_TRADE = (9, 57, 59, TIME_NS, 6_543_210, 12_345, False)
OPEN_NS = TIME_NS - TIME_NS % (60 * 10**9)
CANDLE = (OPEN_NS, OPEN_NS + 60 * 10**9, 100, 120, 90, 110, 5_000, 525_000_000, 7, 2_000, 210_000_000, 11, 17)
TOP = (77, 6_543_209, 5, 6_543_210, 6)
TICKER = (
    TIME_NS - 86_400 * 10**9,
    TIME_NS,
    10_000,
    12_000,
    9_000,
    11_000,
    700,
    3_000_000,
    31_500_000_000_0,
    5,
    104,
    100,
    9_990,
)
NEVER = (TIME_NS - 86_400 * 10**9, TIME_NS, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0)


def loads(raw: bytes) -> Any:
    return orjson.loads(raw)


def info(markets: list[Market], **options: Any) -> Any:
    return loads(market_answers.exchange_info(markets, TIME_NS, MS, LIMITS, **options))


def test_exchange_info() -> None:
    answer = info([MARKET])
    accepted(answer, "exchange_info_response")
    checked(answer["symbols"], "exchange_info_response_symbols_inner")
    symbol = answer["symbols"][0]
    kinds = [one["filterType"] for one in symbol["filters"]]
    assert kinds == [
        "PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "NOTIONAL", "MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS",
        "MAX_NUM_ORDER_AMENDS",
    ]  # fmt: skip
    assert symbol["permissionSets"] == [["SPOT"]]
    assert symbol["permissions"] == []
    assert info([MARKET], show_permission_sets=False)["symbols"][0]["permissionSets"] == []
    assert symbol["filters"][0] == {
        "filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000",
        "tickSize": "0.01000000",
    }  # fmt: skip
    assert symbol["filters"][1] == {
        "filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000",
    }  # fmt: skip
    assert symbol["filters"][3] == {
        "filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True,
        "maxNotional": "9000000000.00000000", "applyMaxToMarket": True, "avgPriceMins": 5,
    }  # fmt: skip
    assert (symbol["defaultSelfTradePreventionMode"], symbol["allowedSelfTradePreventionModes"]) == (
        "EXPIRE_MAKER", ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    )  # fmt: skip
    assert answer["serverTime"] == TIME_NS // MS
    assert answer["rateLimits"] == LIMITS


# As production has them on BTCUSDT, with all that this exchange knows besides.
FULL: dict[str, Any] = {
    "iceberg_parts_max": 100, "iceberg_orders_max": 5, "position_units_max": 10**9, "bid_multiplier_up_e4": 50_000,
    "bid_multiplier_down_e4": 2_000, "ask_multiplier_up_e4": 13_050, "ask_multiplier_down_e4": 0,
}  # fmt: skip


def filters_of(**changes: Any) -> dict[str, dict[str, Any]]:
    return {one["filterType"]: one for one in info([a_market(**changes)])["symbols"][0]["filters"]}


def test_every_filter_is_taken_by_the_strict_models() -> None:
    shared = {name: 12_000 for name in FULL if "multiplier" in name} | {"notional_flags": 7}
    for changes in ({"market_step_steps": 10, "orders_max": 0, "algo_orders_max": 0}, FULL, FULL | shared):
        filters = filters_of(**changes)
        accepted(info([a_market(**changes)]), "exchange_info_response")
        for kind, one in filters.items():
            name = {"NOTIONAL": "notional_filter"}.get(kind, kind.lower().removesuffix("_filter") + "_filter")
            checked(one, name, without=("priceExponent", "qtyExponent", "multiplierExponent"))
        accepted({"exchangeFilters": [], "symbolFilters": list(filters.values()), "assetFilters": []},
                 "my_filters_response")  # fmt: skip


def test_filters_of_icebergs_positions_and_distance_to_the_average() -> None:
    filters = filters_of(**FULL)
    assert list(filters)[:2] == ["PRICE_FILTER", "LOT_SIZE"], "cryptofeed finds them by their places"
    assert filters["ICEBERG_PARTS"]["limit"] == 100
    assert filters["MAX_NUM_ICEBERG_ORDERS"]["maxNumIcebergOrders"] == 5
    assert filters["MAX_POSITION"]["maxPosition"] == "10.00000000"
    assert filters["PERCENT_PRICE_BY_SIDE"] == {
        "filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
        "askMultiplierUp": "1.305", "askMultiplierDown": "0", "avgPriceMins": 5,
    }  # fmt: skip
    shared = {name: 11_000 if "up" in name else 5_000 for name in FULL if "multiplier" in name}
    assert filters_of(**shared, notional_flags=6)["PERCENT_PRICE"] == {
        "filterType": "PERCENT_PRICE", "multiplierUp": "1.1", "multiplierDown": "0.5", "avgPriceMins": 5,
    }  # fmt: skip
    assert filters_of(**shared, notional_flags=6)["NOTIONAL"]["applyMinToMarket"] is False
    only_below = filters_of(bid_multiplier_down_e4=5_000)["PERCENT_PRICE_BY_SIDE"]
    assert (only_below["bidMultiplierUp"], only_below["bidMultiplierDown"]) == ("429496.7295", "0.5")
    none = filters_of()
    for kind in ("PERCENT_PRICE", "PERCENT_PRICE_BY_SIDE", "ICEBERG_PARTS", "MAX_POSITION", "MAX_NUM_ICEBERG_ORDERS"):
        assert kind not in none


def test_ccxt_reads_the_limits_of_a_full_market() -> None:
    exchange = exchange_of(info([a_market(**FULL)]))
    limits = exchange.market("BTC/USDT")["limits"]
    assert (limits["price"]["min"], limits["amount"]["min"], limits["cost"]["min"]) == (0.01, 0.00001, 5)


@pytest.mark.parametrize(
    ("state", "status"),
    [(MarketState.TRADING, "TRADING"), (MarketState.HALT, "HALT"), (MarketState.BREAK, "BREAK"),
    (MarketState.CANCEL_ONLY, "CANCEL_ONLY"),
     (MarketState.POST_ONLY, "BREAK"), (MarketState.AUCTION, "BREAK"), (MarketState.END_OF_DAY, "END_OF_DAY")],
)  # fmt: skip
def test_states(state: MarketState, status: str) -> None:
    market = a_market(state=state)
    assert market.status == status
    assert market.exchange_info()["status"] == status
    market.state = MarketState.TRADING
    assert market.status == "TRADING"


def test_ccxt_reads_the_market() -> None:
    market = exchange_of(info([MARKET])).market("BTC/USDT")
    assert market["active"] is True
    assert market["spot"] is True
    assert market["precision"] == {"amount": 0.00001, "price": 0.01, "cost": None, "base": 1e-8, "quote": 1e-8} or (
        market["precision"]["amount"] == 0.00001 and market["precision"]["price"] == 0.01
    )
    assert market["limits"]["amount"] == {"min": 0.00001, "max": 9000.0}
    assert market["limits"]["price"] == {"min": 0.01, "max": 1_000_000.0}
    assert market["limits"]["cost"] == {"min": 5.0, "max": 9_000_000_000.0}
    assert market["limits"]["market"] == {"min": 0.00001, "max": 9000.0}


def test_names_beyond_ascii_and_quotes() -> None:
    assets = {1: Asset(1, 'B"C', 8), 2: Asset(2, "币", 8)}
    market = Market.from_command(1, market_command('币"\\安'.encode()), assets)
    assert loads(market_answers.trades(market, [TRADE], MS))
    assert loads(market_answers.ticker_price(market, 1))["symbol"] == '币"\\安'
    assert info([market])["symbols"][0]["baseAsset"] == 'B"C'
    assert loads(events.trade(market, TRADE, TIME_NS, MS))["s"] == '币"\\安'


def test_depth() -> None:
    bids = np.array([[6_543_210, 5], [6_543_200, 123_456]], dtype=np.int64)
    answer = loads(market_answers.depth(MARKET, 42, bids, bids[:0]))
    checked(answer, "depth_response")
    assert answer == {
        "lastUpdateId": 42, "bids": [["65432.10000000", "0.00005000"], ["65432.00000000", "1.23456000"]], "asks": [],
    }  # fmt: skip
    assert loads(market_answers.depth(MARKET, 42, bids.tolist(), [])) == answer
    book = exchange_of(info([MARKET])).parse_order_book(answer, "BTC/USDT")
    assert book["bids"][0] == [65432.1, 0.00005]


@given(
    st.lists(st.tuples(st.integers(1, 1 << 42), st.integers(0, (1 << 62) - 1)), max_size=40),
    st.sampled_from([(8, 8, 1, 1), (8, 8, 10**6, 10**3), (0, 8, 10**8, 1), (8, 2, 10**6, 10**8)]),
)
def test_many_levels_read_as_few(levels: list[tuple[int, int]], shape: tuple[int, int, int, int]) -> None:
    market = market_of(*shape)
    array = np.array(levels, dtype=np.int64).reshape(-1, 2)
    one_by_one = [[market.price_text(price), market.quantity_text(quantity)] for price, quantity in levels]
    for text in (market_answers.levels_text(market, array), market_answers.levels_text(market, levels)):
        assert loads(b"[" + text.encode() + b"]") == one_by_one


def test_trades() -> None:
    answer = loads(market_answers.trades(MARKET, [TRADE, TRADE], MS))
    checked(answer, "get_trades_response_inner")
    assert answer[0] == {
        "id": 57, "price": "65432.10000000", "qty": "0.12345000", "quoteQty": "8077.59274500",
        "time": TIME_NS // MS, "isBuyerMaker": True, "isBestMatch": True,
    }  # fmt: skip
    assert loads(market_answers.trades(MARKET, [TRADE], 1_000))[0]["time"] == TIME_NS // 1_000
    assert market_answers.trades(MARKET, [], MS) == b"[]"
    aggregate = loads(market_answers.agg_trades(MARKET, [AGG_TRADE], MS))
    checked(aggregate, "agg_trades_response_inner")
    assert aggregate[0]["m"] is False
    exchange = exchange_of(info([MARKET]))
    trade = exchange.parse_trade(aggregate[0], exchange.market("BTC/USDT"))
    assert (trade["id"], trade["side"], trade["price"], trade["amount"]) == ("9", "buy", 65432.1, 0.12345)


def test_klines() -> None:
    answer = loads(market_answers.klines(MARKET, [CANDLE], MS))
    assert answer == [[
        OPEN_NS // MS, "1.00000000", "1.20000000", "0.90000000", "1.10000000", "0.05000000", OPEN_NS // MS + 59_999,
        "5.25000000", 7, "0.02000000", "2.10000000", "0",
    ]]  # fmt: skip
    micro = loads(market_answers.klines(MARKET, [CANDLE], 1_000))[0]
    assert (micro[0], micro[6]) == (OPEN_NS // 1_000, OPEN_NS // 1_000 + 59_999_999)
    assert exchange_of(info([MARKET])).parse_ohlcv(answer[0]) == [OPEN_NS // MS, 1.0, 1.2, 0.9, 1.1, 0.05]


def test_average_price() -> None:
    answer = loads(market_answers.average_price(MARKET, 12_345, TIME_NS, MS))
    checked(answer, "avg_price_response")
    assert answer == {"mins": 5, "price": "123.45000000", "closeTime": TIME_NS // MS}


def test_tickers() -> None:
    full = loads(market_answers.ticker_24h(MARKET, TICKER, TOP, MS))
    checked(full, "ticker24hr_response1")
    accepted(full, "ticker24hr_response")
    accepted([full, full], "ticker24hr_response")
    assert full == {
        "symbol": "BTCUSDT", "priceChange": "10.00000000", "priceChangePercent": "10.000",
        "weightedAvgPrice": "105.00000000", "prevClosePrice": "99.90000000", "lastPrice": "110.00000000",
        "lastQty": "0.00700000", "bidPrice": "65432.09000000", "bidQty": "0.00005000", "askPrice": "65432.10000000",
        "askQty": "0.00006000", "openPrice": "100.00000000", "highPrice": "120.00000000", "lowPrice": "90.00000000",
        "volume": "30.00000000", "quoteVolume": "3150.00000000", "openTime": TIME_NS // MS - 86_400_000,
        "closeTime": TIME_NS // MS, "firstId": 5, "lastId": 104, "count": 100,
    }  # fmt: skip
    mini = loads(market_answers.ticker_24h(MARKET, TICKER, TOP, MS, mini=True))
    assert mini == {
        name: full[name]
        for name in (
            "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime",
            "closeTime", "firstId", "lastId", "count",
        )
    }  # fmt: skip
    rolling = checked(loads(market_answers.rolling_ticker(MARKET, TICKER, MS)), "ticker_response1")
    assert not {"bidPrice", "prevClosePrice"} & rolling.keys()
    accepted(rolling, "ticker_response")
    price = checked(loads(market_answers.ticker_price(MARKET, 11_000)), "ticker_price_response1")
    assert price == {"symbol": "BTCUSDT", "price": "110.00000000"}
    book = checked(loads(market_answers.ticker_book(MARKET, TOP)), "ticker_book_ticker_response1")
    assert book["askQty"] == "0.00006000"
    exchange = exchange_of(info([MARKET]))
    ticker = exchange.parse_ticker(full, exchange.market("BTC/USDT"))
    assert (ticker["last"], ticker["percentage"], ticker["vwap"], ticker["bid"]) == (110.0, 10.0, 105.0, 65432.09)


def test_a_market_without_trades() -> None:
    full = checked(loads(market_answers.ticker_24h(MARKET, NEVER, (0, 0, 0, 0, 0), MS)), "ticker24hr_response1")
    zero = "0.00000000"
    assert (full["lastPrice"], full["weightedAvgPrice"], full["priceChange"], full["bidPrice"]) == (
        zero,
        zero,
        zero,
        zero,
    )
    assert (full["priceChangePercent"], full["firstId"], full["lastId"], full["count"]) == ("0.000", -1, -1, 0)


@pytest.mark.parametrize(
    ("opened", "last", "percent"),
    [(100, 110, "10.000"), (110, 100, "-9.091"), (3, 4, "33.333"), (3, 5, "66.667"), (10**9, 10**9 - 1, "0.000"),
     (10**9, 10**9 + 1, "0.000"), (200_000, 199_999, "-0.001"), (1, 1_000_001, "100000000.000")],
)  # fmt: skip
def test_percent(opened: int, last: int, percent: str) -> None:
    row = (0, 1, opened, max(opened, last), min(opened, last), last, 1, 1, opened * 1_000, 1, 1, 1, opened)
    full = loads(market_answers.rolling_ticker(MARKET, row, MS))
    assert full["priceChangePercent"] == percent


SHAPES = st.sampled_from(
    [(8, 8, 10**6, 10**3), (8, 8, 1, 10**8), (8, 2, 10**6, 10**8), (0, 6, 10**2, 1), (3, 3, 10**5, 10**3)]
)
TRADES = st.lists(st.tuples(st.integers(1, 1 << 42), st.integers(1, 1 << 40)), min_size=1, max_size=20)


@given(SHAPES, TRADES)
def test_tickers_never_contradict_themselves(shape: tuple[int, int, int, int], trades: list[tuple[int, int]]) -> None:
    market = market_of(*shape)
    prices = [price for price, _ in trades]
    volume = sum(quantity for _, quantity in trades)
    quote = sum(market.quote_units_of(price, quantity) for price, quantity in trades)
    row = (
        0, 1, prices[0], max(prices), min(prices), prices[-1], trades[-1][1], volume, quote, 1, len(trades),
        len(trades),
        prices[0],
    )  # fmt: skip
    full = loads(market_answers.ticker_24h(market, row, (1, 1, 1, 2, 1), MS))
    low, high = Decimal(full["lowPrice"]), Decimal(full["highPrice"])
    assert low <= Decimal(full["weightedAvgPrice"]) <= high
    assert low <= Decimal(full["lastPrice"]) <= high
    assert low <= Decimal(full["openPrice"]) <= high
    assert Decimal(full["lastPrice"]) - Decimal(full["openPrice"]) == Decimal(full["priceChange"])
    assert full["count"] == full["lastId"] - full["firstId"] + 1
    assert Decimal(full["bidPrice"]) <= Decimal(full["askPrice"])
    stream = loads(events.ticker(market, row, (1, 1, 1, 2, 1), 1, MS))
    names = {"p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "x": "prevClosePrice",
    "c": "lastPrice",
             "Q": "lastQty", "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume",
             "O": "openTime", "C": "closeTime", "F": "firstId", "L": "lastId", "n": "count", "b": "bidPrice",
             "B": "bidQty", "a": "askPrice", "A": "askQty"}  # fmt: skip
    assert {key: stream[key] for key in names} == {key: full[name] for key, name in names.items()}


# Streams

STREAMS = "websocket_streams"


def test_stream_payloads() -> None:
    update = loads(events.depth_update(MARKET, 5, 9, [[100, 0], [99, 7]], np.array([[101, 1]]), TIME_NS, MS))
    checked(update, "diff_book_depth_response", STREAMS)
    assert update == {
        "e": "depthUpdate", "E": TIME_NS // MS, "s": "BTCUSDT", "U": 5, "u": 9,
        "b": [["1.00000000", "0.00000000"], ["0.99000000", "0.00007000"]], "a": [["1.01000000", "0.00001000"]],
    }  # fmt: skip
    partial = checked(loads(events.partial_depth(MARKET, 9, [[100, 1]], [])), "partial_book_depth_response", STREAMS)
    assert list(partial) == ["lastUpdateId", "bids", "asks"]
    trade = checked(loads(events.trade(MARKET, TRADE, TIME_NS, 1_000)), "trade_response", STREAMS)
    assert (trade["E"], trade["T"], trade["t"], trade["m"], trade["M"]) == (
        TIME_NS // 1_000,
        TIME_NS // 1_000,
        57,
        True,
        True,
    )
    aggregate = checked(loads(events.agg_trade(MARKET, AGG_TRADE, TIME_NS, MS)), "agg_trade_response", STREAMS)
    assert (aggregate["a"], aggregate["f"], aggregate["l"]) == (9, 57, 59)
    top = records.TopRow(1, 77, 1, 0, 100, 5, 0, 0, 0)
    book = checked(loads(events.book_ticker(MARKET, top)), "book_ticker_response", STREAMS)
    assert book == {"u": 77, "s": "BTCUSDT", "b": "1.00000000", "B": "0.00005000", "a": "0.00000000", "A": "0.00000000"}
    kline = checked(loads(events.kline(MARKET, "1m", CANDLE, True, TIME_NS, MS)), "kline_response", STREAMS)
    checked(kline["k"], "kline_response_k", STREAMS)
    assert (kline["k"]["x"], kline["k"]["t"], kline["k"]["T"], kline["k"]["i"]) == (
        True,
        OPEN_NS // MS,
        OPEN_NS // MS + 59_999,
        "1m",
    )
    mini = checked(loads(events.mini_ticker(MARKET, TICKER, TIME_NS, MS)), "mini_ticker_response", STREAMS)
    assert (mini["e"], mini["c"]) == ("24hrMiniTicker", "110.00000000")
    ticker = checked(loads(events.ticker(MARKET, TICKER, TOP, TIME_NS, MS)), "ticker_response", STREAMS)
    assert (ticker["e"], ticker["n"]) == ("24hrTicker", 100)
    average = checked(loads(events.average_price(MARKET, 100, TIME_NS, TIME_NS, MS)), "avg_price_response", STREAMS)
    assert average["i"] == "5m"
    assert loads(events.server_shutdown(TIME_NS, MS)) == {"e": "serverShutdown", "E": TIME_NS // MS}
    assert loads(events.combined("btcusdt@trade", b'{"a":1}')) == {"stream": "btcusdt@trade", "data": {"a": 1}}
    assert loads(events.combined('币"@trade', b"{}"))["stream"] == '币"@trade'
