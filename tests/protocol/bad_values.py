# SPDX-License-Identifier: Apache-2.0
"""For each kind of parameter,
good texts and bad ones with the exact error of each: what the tests of every endpoint use.

Written from binance_api.md and errors.md, not from the parsers.
"""

from typing import Any

INTEGER = "^[0-9]{1,20}$"
DECIMAL = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
SYMBOL = "^[\\w\\-._&&[^a-z]]{1,50}$"
SYMBOLS = '^\\[("[\\w\\-._&&[^a-z]]{1,50}"(,"[\\w\\-._&&[^a-z]]{1,50}"){0,}){0,1}\\]$'

# What is wrong with every kind that has a grammar: wrong type, negative, exponent, NaN, digits of other scripts.
NO_DIGITS = [
    "abc",
    "-1",
    "+1",
    "1e5",
    "1E-5",
    "NaN",
    "Infinity",
    "٣",
    "１",
    "0x1F",
    "1_0",
    " 1",
    "null",
    "1" * 21,
    "²",
    "true",
    "[]",
]
ALSO_NO_INTEGER = ["1.5", "1.0"]
ALSO_NO_DECIMAL = ["1.2.3", "1.", ".5", "1,5", "1." + "0" * 21]

Bad = tuple[str, int, str]


def illegal(name: str, pattern: str) -> tuple[int, str]:
    return -1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'."


def invalid(name: str) -> tuple[int, str]:
    return -1130, f"Data sent for parameter '{name}' is not valid."


def integers(name: str) -> list[Bad]:
    """A whole number of 63 bits."""
    overflow = (-1108, f"Parameter '{name}' overflowed.")
    return [(text, *illegal(name, INTEGER)) for text in NO_DIGITS + ALSO_NO_INTEGER] + [
        ("9223372036854775808", *overflow), ("9" * 20, *overflow),
    ]  # fmt: skip


def decimals(name: str) -> list[Bad]:
    """A decimal of at most 8 places."""
    return [(text, *illegal(name, DECIMAL)) for text in NO_DIGITS + ALSO_NO_DECIMAL] + [
        (text, -1111, f"Parameter '{name}' has too much precision.") for text in ("0.000000001", "1.123456789")
    ]


def client_ids(name: str) -> list[Bad]:
    """36 letters, digits, - and _."""
    texts = [
        "a" * 37,
        "a b",
        "a.b",
        "a:b",
        "a/b",
        "é",
        "٣",
        "a\n",
        "a'b",
        'a"b',
        "a\\b",
        "a=b",
        "<a>",
        "a,b",
        "a;b",
        "\x00",
    ]
    return [(text, *illegal(name, CLIENT_ID)) for text in texts]


def words(error: tuple[int, str], texts: tuple[str, ...] = ()) -> list[Bad]:
    """One of a few words."""
    return [
        (text, *error) for text in ("abc", "1", "-1", "NaN", "buy", "limit", "gtc", "X" * 500, "é", "٣", " ", *texts)
    ]


def limits(maximum: int) -> tuple[list[Any], list[Bad]]:
    """How many rows: zero is none, more than the maximum is the maximum."""
    nothing = (-1102, "Mandatory parameter 'limit' was not sent, was empty/null, or malformed.")
    good = [("1", 1), (str(maximum), maximum), (str(maximum + 1), maximum), ("9223372036854775807", maximum)]
    return good, [*integers("limit"), ("0", *nothing), ("00", *nothing)]


def symbol_texts() -> list[Bad]:
    """Upper case, at most 50 characters."""
    texts = ["btcusdt", "BTCusdt", "BTC/USDT", "BTC USDT", "B" * 51, "BTC,USDT", "'", '"', "BTC\n", "😀", "BTC%"]
    return [(text, *illegal("symbol", SYMBOL)) for text in texts]


def symbols_texts() -> list[Bad]:
    """A JSON array without spaces."""
    texts = [
        "BTCUSDT", "BTCUSDT,ETHUSDT", "[BTCUSDT]", '["BTCUSDT"', '"BTCUSDT"]', '["BTCUSDT", "ETHUSDT"]', '["btcusdt"]',
        '[""]', "[1]", "[null]", '[["A"]]', '["A",]', "[,]", "{}", "null", "1", '["' + "B" * 51 + '"]', '["A""B"]',
        "['A']",
    ]  # fmt: skip
    return [(text, *illegal("symbols", SYMBOLS)) for text in texts] + [
        ("[]", -1105, "Parameter 'symbols' was empty."),
        ('["A","B","A"]', -1151, "Symbol is present multiple times in the list."),
    ]


TIMES_GOOD = [
    ("0", 0), ("1499827319559", 1499827319559 * 10**6), ("1499827319559123", 1499827319559123 * 10**3),
    ("99999999999999", (1 << 63) - 1), ("9223372036854775807", (1 << 63) - 1), ("100000000000000", 10**17),
]  # fmt: skip
DECIMALS_GOOD = [
    ("0", 0),
    ("1", 10**8),
    ("0.1", 10**7),
    ("65432.10", 6543210000000),
    ("1.00000000000", 10**8),
    ("0.00000001", 1),
]
INTEGERS_GOOD = [("0", 0), ("28", 28), ("9223372036854775807", (1 << 63) - 1), ("007", 7)]
CLIENT_IDS_GOOD = [(text, text) for text in ("a", "A" * 36, "x-TKT5PX2F_1", "0", "-", "_")]

KINDS: dict[str, tuple[list[Any], list[Bad]]] = {
    "symbol": (
        [(text, text) for text in ("BTCUSDT", "A", "B" * 50, "1INCH-USD_X.Y", "１２３４５６", "币安")],
        symbol_texts(),
    ),
    "symbols": ([('["A"]', ["A"]), ('["A","B","１２"]', ["A", "B", "１２"])], symbols_texts()),
    "permissions": (
        [("SPOT", ["SPOT"]), ('["SPOT","MARGIN"]', ["SPOT", "MARGIN"])],
        [(text, *invalid("permissions")) for text in ("spot", "[]", "[SPOT]", "A B", "é" * 51)],
    ),
    "showPermissionSets": (
        [("true", True), ("false", False), ("True", True), ("FALSE", False)],
        [(text, *invalid("showPermissionSets")) for text in ("1", "0", "yes", "NaN", "٣", "truefalse", " true")],
    ),
    "symbolStatus": (
        [("TRADING", "TRADING"), ("BREAK", "BREAK")],
        words((-1122, "Invalid symbolStatus."), ("trading",)),
    ),
    "depth.limit": limits(5000),
    "limit": limits(1000),
    "startTime": (TIMES_GOOD, integers("startTime")),
    "endTime": (TIMES_GOOD, integers("endTime")),
    "interval": (
        [(text, text) for text in ("1s", "1m", "1M", "3d", "1w", "12h")],
        words((-1120, "Invalid interval."), ("1S", "2m", "1 m", "60", "1h1h", "1D")),
    ),
    "timeZone": (
        [("0", 0), ("8", 480), ("-1:00", -60), ("05:45", 345), ("-12:00", -720), ("+14:00", 840), ("14", 840)],
        [
            (text, *invalid("timeZone"))
            for text in ("14:01", "-12:01", "15", "-13", "1:60", "UTC", "1e1", "٣", "+", "--1", "1:0")
        ],
    ),
    "ticker.type": ([("FULL", "FULL"), ("MINI", "MINI")], words((-1139, "Invalid ticker type."), ("mini",))),
    "windowSize": (
        [("1m", 60 * 10**9), ("59m", 59 * 60 * 10**9), ("23h", 23 * 3600 * 10**9), ("7d", 7 * 86400 * 10**9)],
        [
            (text, *invalid("windowSize"))
            for text in ("0m", "60m", "24h", "8d", "1", "m", "1w", "-1m", "1.5h", "٣m", "1M", "01d ", "NaN")
        ],
    ),
    "omitZeroBalances": (
        [("true", True), ("false", False)],
        [(text, *invalid("omitZeroBalances")) for text in ("1", "NaN", "٣")],
    ),
    "computeCommissionRates": (
        [("true", True)],
        [(text, *invalid("computeCommissionRates")) for text in ("1", "NaN", "٣")],
    ),
    "side": ([("BUY", 1), ("SELL", 2)], words((-1117, "Invalid side."))),
    "type": (
        [("LIMIT", 1), ("MARKET", 2), ("LIMIT_MAKER", 3), ("STOP_LOSS", 4), ("TAKE_PROFIT_LIMIT", 7)],
        words((-1116, "Invalid orderType."), ("NONE", "OCO")),
    ),
    "timeInForce": ([("GTC", 1), ("IOC", 2), ("FOK", 3)], words((-1115, "Invalid timeInForce."), ("NONE", "GTX"))),
    "newOrderRespType": ([("ACK", "ACK"), ("FULL", "FULL")], words(invalid("newOrderRespType"), ("full",))),
    "selfTradePreventionMode": (
        [("NONE", 1), ("EXPIRE_TAKER", 2), ("TRANSFER", 6)],
        words(invalid("selfTradePreventionMode"), ("DEFAULT", "none")),
    ),
    "pegPriceType": ([("PRIMARY_PEG", 1), ("MARKET_PEG", 2)], words((-1210, "Invalid pegPriceType."))),
    "pegOffsetType": ([("PRICE_LEVEL", 1)], words((-1211, "Invalid pegOffsetType."))),
    "cancelRestrictions": (
        [("ONLY_NEW", 1), ("ONLY_PARTIALLY_FILLED", 2)],
        words((-1145, "cancelRestrictions has to be either ONLY_NEW or ONLY_PARTIALLY_FILLED."), ("NONE",)),
    ),
    "cancelReplaceMode": (
        [("STOP_ON_FAILURE", False), ("ALLOW_FAILURE", True)],
        words(invalid("cancelReplaceMode"), ("STOP", "true")),
    ),
    "orderRateLimitExceededMode": (
        [("DO_NOTHING", False), ("CANCEL_ONLY", True)],
        words(invalid("orderRateLimitExceededMode"), ("NOTHING",)),
    ),
    "recvWindow": (
        [("5000", 5000 * 10**6), ("60000", 60000 * 10**6), ("0.001", 10**3), ("6000.346", 6000346 * 10**3), ("0", 0)],
        [(text, *illegal("recvWindow", DECIMAL)) for text in NO_DIGITS + ALSO_NO_DECIMAL]
        + [
            ("60000.001", -1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000."),
            ("99999999999999999999", -1102, "'recvWindow' contains unexpected value. Cannot be greater than 60000."),
            ("1.0001", -1111, "Parameter 'recvWindow' has too much precision."),
        ],
    ),
    "timestamp": (
        [("1499827319559", 1499827319559 * 10**6), ("1499827319559123", 1499827319559123 * 10**3), ("0", 0)],
        integers("timestamp"),
    ),
    "strategyType": (
        [("1000000", 10**6), ("2147483647", (1 << 31) - 1)],
        [*integers("strategyType"), ("2147483648", -1108, "Parameter 'strategyType' overflowed.")],
    ),
    "signature": ([("00", "00"), ("zz", "zz")], []),
    "asset": ([("BTC", "BTC")], []),
    "listenKey": ([("k" * 64, "k" * 64), ("a", "a")], []),
    "needBtcValuation": ([("true", True)], [("1", *invalid("needBtcValuation"))]),
}
for _name in (
    "orderId", "fromId", "strategyId", "trailingDelta", "pegOffsetValue", "subscriptionId", "cancelOrderId",
    "preventedMatchId", "fromPreventedMatchId", "fromExecutionId",
):  # fmt: skip
    KINDS[_name] = (INTEGERS_GOOD, integers(_name))
for _name in ("quantity", "quoteOrderQty", "price", "stopPrice", "icebergQty", "newQty"):
    KINDS[_name] = (DECIMALS_GOOD, decimals(_name))
for _name in ("newClientOrderId", "origClientOrderId", "cancelNewClientOrderId", "cancelOrigClientOrderId"):
    KINDS[_name] = (CLIENT_IDS_GOOD, client_ids(_name))
