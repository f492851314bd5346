# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §11.2, the rows of trades: ids, maker flag, aggregates, sums to the last digit, numbers, times."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from decimal import Decimal
from typing import Any

from tests.wire_rules.conftest import Opener
from tests.wire_rules.dealing import dealers, under_load
from tests.wire_rules.hall import Hall
from tests.wire_rules.room import FUNDS, Room, Trader, text, together

NAMES = ("alice", "bob", "carol")
DECIMAL = re.compile(r"-?(0|[1-9]\d*)\.\d{8}\Z").match
PERCENT = re.compile(r"-?(0|[1-9]\d*)\.\d{3}\Z").match


async def my_trades(trader: Trader) -> list[Any]:
    """All of them, page by page."""
    rows: list[Any] = []
    while page := await trader.ask("GET", "myTrades", limit=100, fromId=rows[-1]["id"] + 1 if rows else 0):
        rows += page
    return rows


async def test_11_2_trade_ids_grow_by_one_and_are_the_same_everywhere(open_room: Opener, seed: int) -> None:
    """trade stream, GET /trades, historicalTrades, fills.tradeId, myTrades.id, executionReport.t; of each symbol."""
    room, other = await open_room(*NAMES), await open_room("dave", "erin")
    stream = await room.listen("trade")
    traders = [room.traders[name] for name in NAMES]
    sockets = [await trader.watch() for trader in traders]
    dealing = dealers(traders, seed)
    await together(
        *(dealer.deal(80) for dealer in dealing), *(d.deal(60) for d in dealers(list(other.traders.values()), seed))
    )
    told = await stream.take()
    count = len(told)
    assert count > 40
    assert [event["t"] for event in told] == list(range(1, count + 1)), "from 1, no gap, whatever another market does"
    numbers = {event["t"]: (event["p"], event["q"], event["T"], event["m"]) for event in told}
    for path in ("trades", "historicalTrades"):
        rows = await room.get(path, limit=1000)
        assert {row["id"]: (row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rows} == numbers
        assert [row["id"] for row in rows] == list(numbers)
    page = await room.get("historicalTrades", fromId=7, limit=5)
    assert [row["id"] for row in page] == [7, 8, 9, 10, 11]
    seen: dict[int, list[Any]] = defaultdict(list)
    for trader, socket, dealer in zip(traders, sockets, dealing, strict=True):
        reports = [e for e in await socket.take() if e["e"] == "executionReport" and e["x"] == "TRADE"]
        mine = await my_trades(trader)
        assert sorted(e["t"] for e in reports) == sorted(row["id"] for row in mine)
        for report in reports:
            assert (report["L"], report["l"], report["T"]) == numbers[report["t"]][:3]
            seen[report["t"]].append(report)
        for answer in dealer.placed:
            for fill in answer["fills"]:
                assert (fill["price"], fill["qty"]) == numbers[fill["tradeId"]][:2]
    assert sorted(seen) == list(numbers)
    for both in seen.values():
        assert sorted(report["m"] for report in both) == [False, True], "one taker, one maker"
        assert sorted(report["S"] for report in both) == ["BUY", "SELL"]


async def test_11_2_maker_flag_tells_that_the_buyer_was_resting(open_room: Opener) -> None:
    room = await open_room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    stream, aggregates = await room.listen("trade"), await room.listen("aggTrade")
    await alice.limit("BUY", "1", "100")
    await bob.limit("SELL", "1", "100")
    await alice.limit("SELL", "1", "100")
    await bob.market("BUY", "1")
    for listener in (stream, aggregates):
        assert [(event["m"], event["M"]) for event in await listener.take()] == [(True, True), (False, True)]
    rows = await room.get("trades")
    assert [(row["isBuyerMaker"], row["isBestMatch"]) for row in rows] == [(True, True), (False, True)]
    assert [(row["isBuyer"], row["isMaker"], row["isBestMatch"]) for row in await my_trades(alice)] == [
        (True, True, True), (False, True, True),
    ]  # fmt: skip
    assert [(row["isBuyer"], row["isMaker"]) for row in await my_trades(bob)] == [(False, False), (True, False)]


async def test_11_2_aggregate_joins_the_fills_of_one_taker_at_one_price(open_room: Opener, seed: int) -> None:
    """Worked out anew from both owners' reports: the same taker order, the same price, one after the other."""
    room = await open_room(*NAMES)
    stream = await room.listen("aggTrade")
    traders = [room.traders[name] for name in NAMES]
    sockets = [await trader.watch() for trader in traders]
    await together(*(dealer.deal(80) for dealer in dealers(traders, seed, spread=1)))
    for trader in (*traders[:2], traders[0]):
        await trader.limit("SELL", "1", "150")
    await traders[2].limit("BUY", "200", "150")
    taken: dict[int, Any] = {}
    for socket in sockets:
        for event in await socket.take():
            if event["e"] == "executionReport" and event["x"] == "TRADE" and not event["m"]:
                taken[event["t"]] = event
    expected: list[Any] = []
    last = None
    for number in sorted(taken):
        event = taken[number]
        same = (event["i"], event["L"], event["T"])
        if same != last:
            sells = event["S"] == "SELL"
            expected.append([len(expected) + 1, event["L"], Decimal(0), number, number, event["T"], sells])
        expected[-1][2] += Decimal(event["l"])
        expected[-1][4] = number
        last = same
    expected = [[a, p, text(q), f, l_, time, m] for a, p, q, f, l_, time, m in expected]
    told = await stream.take()
    assert [[e[key] for key in "apqflTm"] for e in told] == expected
    assert len(expected) < len(taken), "some were joined"
    rows = await room.get("aggTrades", limit=1000)
    assert [[row[key] for key in "apqflTm"] for row in rows] == expected
    assert await room.get("aggTrades", fromId=5, limit=3) == rows[4:7]
    start, end = rows[3]["T"], rows[-3]["T"]
    assert await room.get("aggTrades", startTime=start, endTime=end, limit=1000) == [
        row for row in rows if start <= row["T"] <= end
    ]


async def test_11_2_aggregate_does_not_join_two_takers_nor_two_prices(hall: Hall) -> None:
    """Even at one price and one time."""
    room = await hall.room(*NAMES)
    alice, bob, carol = (room.traders[name] for name in NAMES)
    for price in ("100", "100", "101"):
        await alice.limit("SELL", "1", price)
    stream = await room.listen("aggTrade")
    await bob.limit("BUY", "0.4", "100")
    await carol.limit("BUY", "0.4", "100")
    await bob.limit("BUY", "2.2", "101")
    assert [(e["a"], e["q"], e["f"], e["l"]) for e in await stream.take()] == [
        (1, "0.40000000", 1, 1), (2, "0.40000000", 2, 2), (3, "1.20000000", 3, 4), (4, "1.00000000", 5, 5),
    ]  # fmt: skip


async def test_11_2_an_iceberg_maker_is_one_trade_for_each_slice_and_one_aggregate(hall: Hall) -> None:
    room = await hall.room("alice", "bob")
    trades, aggregates = await room.listen("trade"), await room.listen("aggTrade")
    await room.traders["alice"].limit("SELL", "1", "100", icebergQty="0.3")
    await room.traders["bob"].limit("BUY", "1", "100")
    assert [e["q"] for e in await trades.take()] == ["0.30000000"] * 3 + ["0.10000000"]
    (event,) = await aggregates.take()
    assert (event["q"], event["f"], event["l"]) == ("1.00000000", 1, 4)


async def test_11_2_each_stream_is_in_order_by_itself(open_room: Opener, seed: int) -> None:
    """Trades are told at once, depth on its cadence; between them nothing is promised, within one everything."""
    room = await open_room("alice", "bob")
    kinds = ("trade", "aggTrade", "bookTicker", "depth@100ms")
    stream = await room.listen(*kinds, combined=True)
    async with under_load(list(room.traders.values()), seed, 90):
        pass
    await room.get("depth")
    told: dict[str, list[Any]] = defaultdict(list)
    for message in await stream.take():
        told[message["stream"].partition("@")[2]].append(message["data"])
    for kind, key in zip(kinds, ("t", "a", "u", "u"), strict=True):
        ids = [event[key] for event in told[kind]]
        assert len(ids) >= 2
        assert ids == sorted(set(ids))
        times = [event["E"] for event in told[kind] if "E" in event]
        assert times == sorted(times)


async def test_11_2_my_trades_and_account_agree_with_the_reports_to_the_last_digit(
    open_room: Opener, seed: int
) -> None:
    """Σ l = z, Σ Y = Z, balances = before ± quantity, quote and commission."""
    room = await open_room(*NAMES)
    traders = [room.traders[name] for name in NAMES]
    sockets = [await trader.watch() for trader in traders]
    await together(*(dealer.deal(80) for dealer in dealers(traders, seed)))
    for trader, socket in zip(traders, sockets, strict=True):
        reports = [e for e in await socket.take() if e["e"] == "executionReport"]
        mine = await my_trades(trader)
        assert len(mine) > 15
        rows = {(row["orderId"], row["id"]): row for row in mine}
        total = {asset: Decimal(amount) for asset, amount in FUNDS.items()}
        sums: dict[int, list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
        last = {}
        for event in reports:
            last[event["i"]] = event
            if event["x"] != "TRADE":
                continue
            row = rows.pop((event["i"], event["t"]))
            assert (row["price"], row["qty"], row["quoteQty"]) == (event["L"], event["l"], event["Y"])
            assert (row["commission"], row["commissionAsset"]) == (event["n"], event["N"])
            assert (row["time"], row["isMaker"], row["isBuyer"]) == (event["T"], event["m"], event["S"] == "BUY")
            sums[event["i"]][0] += Decimal(event["l"])
            sums[event["i"]][1] += Decimal(event["Y"])
            sign = 1 if event["S"] == "BUY" else -1
            total["BTC"] += sign * Decimal(event["l"])
            total["USDT"] -= sign * Decimal(event["Y"])
            total[event["N"]] -= Decimal(event["n"])
        assert not rows, "no trade without its report"
        for number, event in last.items():
            assert [Decimal(event["z"]), Decimal(event["Z"])] == sums[number]
            found = await trader.order(number)
            assert (found["executedQty"], found["cummulativeQuoteQty"]) == (event["z"], event["Z"])
            assert found["status"] == event["X"]
        assert {asset: sum(pair) for asset, pair in (await trader.balances()).items()} == total


async def test_11_2_numbers_have_fixed_decimals_never_an_exponent_nor_a_float(open_room: Opener) -> None:
    """With the smallest price and the largest quantity a market can have, in everything that is sent."""
    tiny = {"tick": "0.00000001", "step": "1", "price_max": "1", "quantity_max": "1000000000", "notional_min": "0"}
    room = await open_room("alice", "bob", funds={"BTC": "9000000000", "USDT": "1"}, **tiny)
    alice, bob = room.traders["alice"], room.traders["bob"]
    ours = await alice.watch()
    kinds = ("trade", "aggTrade", "bookTicker", "depth@100ms", "depth5@100ms", "kline_1s", "miniTicker", "ticker",
             "ticker_1h", "avgPrice")  # fmt: skip
    stream = await room.listen(*kinds, combined=True)
    placed = [await alice.limit("SELL", "3", "0.00000001"), await bob.limit("BUY", "2", "0.00000001")]
    placed.append(await bob.limit("BUY", "7", "0.00000001"))
    seen: list[Any] = [*placed, *await ours.take()]
    names: set[str] = set()
    while len(names) < len(kinds):
        message = await stream.next()
        names.add(message["stream"])
        seen.append(message)
    tickers = ("ticker", "ticker/24hr", "ticker/price", "ticker/bookTicker", "avgPrice")
    seen += [await room.get(path) for path in ("depth", "trades", "aggTrades", *tickers)]
    seen.append(await room.get("klines", interval="1m"))
    seen += [await alice.order(placed[0]["orderId"]), await my_trades(alice)]
    seen.append((await alice.send("GET", "account", alice.sign({}))).json)
    numbers = list(leaves(json.loads(json.dumps(seen))))
    assert text("0.00000001") in numbers
    assert len(numbers) > 200
    for value in numbers:
        assert not isinstance(value, float)
        if isinstance(value, str) and re.match(r"-?[\d.]+([eE][+-]?\d+)?\Z", value) and value != "0":
            assert DECIMAL(value) or PERCENT(value), value


def leaves(value: Any) -> Any:
    """All values of a JSON value."""
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


async def test_11_2_event_time_is_not_before_the_transaction_time(open_room: Opener, seed: int) -> None:
    """E >= T on every stream and report, in the unit of the connection."""
    room = await open_room("alice", "bob")
    streams = [
        (unit, await room.listen("trade", "aggTrade", combined=True, query=query),
         await room.traders["alice"].watch(query))
        for unit, query in ((1, ""), (1_000, "?timeUnit=MICROSECOND"))
    ]  # fmt: skip
    begin = room.address.now_ms()
    async with under_load(list(room.traders.values()), seed, 60):
        pass
    end = room.address.now_ms() + 1
    for unit, stream, socket in streams:
        events = [message["data"] for message in await stream.take()]
        events += [event for event in await socket.take() if event["e"] == "executionReport"]
        assert len(events) > 60
        for event in events:
            assert begin * unit <= event["T"] <= event["E"] <= end * unit


async def test_11_2_the_order_of_a_room_is_kept_apart_from_other_rooms(open_room: Opener) -> None:
    """Ids of trades and aggregates begin at 1 in every market."""
    for _ in range(2):
        room: Room = await open_room("alice", "bob")
        await room.traders["alice"].limit("SELL", "1", "100")
        await room.traders["bob"].limit("BUY", "1", "100")
        assert [row["id"] for row in await room.get("trades")] == [1]
        assert [row["a"] for row in await room.get("aggTrades")] == [1]
