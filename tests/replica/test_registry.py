# SPDX-License-Identifier: Apache-2.0
"""The registry learns from applied commands only, keeps secrets sealed, and no payload stops it."""

from pathlib import Path

import orjson
import pytest

from bidhall.core import records
from bidhall.core.records import MarketState
from bidhall.log import MemoryLog
from bidhall.replica import KeyPermission, Refused, Registry, Replica
from bidhall.replica.keys import MasterKey, master_key
from tests.replica.conftest import MakeReplica, MovedEnvironment, fill, world

KEY, SECRET = "k" * 64, b"the secret of it"


@pytest.fixture
async def replica(make: MakeReplica, environment: MovedEnvironment) -> Replica:
    made = await make(MemoryLog(environment))
    await fill(made)
    return made


async def test_assets_markets_accounts(replica: Replica) -> None:
    registry = replica.registry
    assert [(asset.id, asset.name, asset.decimals) for asset in registry.assets.values()] == [
        (1, "BTC", 8), (2, "USDT", 8),
    ]  # fmt: skip
    assert registry.asset_by_name["USDT"] is registry.assets[2]
    market = registry.markets["BTCUSDT"]
    assert market is registry.market_by_id[1]
    assert (market.id, market.base.name, market.quote.name, market.status) == (1, "BTC", "USDT", "TRADING")
    assert len(registry.accounts) == 4
    assert [account.name for account in registry.accounts.values()] == [f"account {i}" for i in range(1, 5)]
    assert registry.accounts[2].permissions == 7
    assert 5 not in registry.accounts
    assert 0 not in registry.accounts


async def test_changes_are_seen_and_counted(replica: Replica) -> None:
    registry, version = replica.registry, replica.registry.version
    await replica.execute(records.market_state(1, MarketState.HALT))
    assert registry.markets["BTCUSDT"].status == "HALT"
    assert registry.version == version + 1
    await replica.execute(records.account_change(2, permissions=3) + records.account(b"", permissions=1))
    assert registry.accounts[2].permissions == 3
    assert (registry.accounts[5].name, registry.accounts[5].permissions) == ("", 1)
    assert registry.accounts[2].name == "account 2"
    assert registry.version > version + 1
    version = registry.version
    await replica.execute(records.deposit(1, 1, 5) + records.asset(b"BTC") + records.market_state(9, 1))
    assert registry.version == version  # a rejected command changes nothing
    assert len(registry.assets) == 2


async def test_many_accounts_at_once(replica: Replica) -> None:
    await replica.execute(
        b"".join(records.account(b"n%d" % i if i % 3 else b"", permissions=i % 8) for i in range(3000))
    )
    accounts = replica.registry.accounts
    assert len(accounts) == 3004
    assert (accounts[5].name, accounts[6].name, accounts[3004].name) == ("", "n1", "n2999")
    assert all(accounts[5 + i].permissions == i % 8 for i in range(3000))


async def test_keys(replica: Replica) -> None:
    registry = replica.registry
    public = bytes(range(32))
    await replica.execute(
        registry.key_note(KEY, 1, "hmac", SECRET, permissions=KeyPermission.READ, label="ünïcode " * 40)
        + registry.key_note("pub", 2, "ed25519", public)
    )
    key = registry.keys[KEY]
    assert (key.text, key.account, key.kind, key.secret, key.enabled) == (KEY, 1, "hmac", SECRET, True)
    assert key.permissions == KeyPermission.READ
    assert key.label == "ünïcode " * 40  # a note of several records
    assert registry.keys["pub"].public_key == public
    assert registry.keys["pub"].permissions == KeyPermission.READ | KeyPermission.TRADE
    await replica.execute(registry.key_off_note(KEY) + registry.key_off_note("nobody's"))
    assert not registry.keys[KEY].enabled
    assert registry.keys["pub"].enabled
    with pytest.raises(ValueError, match="ed25519"):
        registry.key_note("x", 1, "ed25519", b"short")
    with pytest.raises(ValueError, match="text"):
        registry.key_note("", 1, "hmac", b"s")


async def test_secrets_are_sealed_in_log_and_snapshot(replica: Replica) -> None:
    note = replica.registry.key_note(KEY, 1, "hmac", SECRET)
    await replica.execute(note)
    raw = b"".join(batch.entry.raw for batch in replica.log.read(1))
    assert KEY.encode() in raw
    for place in (raw, replica.registry.snapshot()):
        assert SECRET not in place
        assert SECRET.hex().encode() not in place
    assert replica.registry.key_note(KEY, 1, "hmac", SECRET) != note  # a nonce of its own each time


async def test_a_sealed_secret_is_bound_to_its_key(replica: Replica) -> None:
    entry = orjson.loads(payload_of(replica.registry.key_note(KEY, 1, "hmac", SECRET)))
    entry["account"] = 2
    await replica.execute(records.notes(orjson.dumps(entry)))
    key = replica.registry.keys[KEY]
    assert (key.account, key.secret, key.enabled) == (2, b"", False)
    assert replica.registry.unopened == 1


def payload_of(note: bytes) -> bytes:
    return b"".join(note[at + 8 : at + 8 + note[at + 7]] for at in range(0, len(note), 192))


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"[]", b"5", b'"x"', b"\xff\xfe", b'{"op":"dance"}', b'{"op":"key"}', b'{"op":"key_off"}',
        b'{"op":"key","key":"","account":1,"kind":"hmac","sealed":"","permissions":1}',
        b'{"op":"key","key":"a","account":1,"kind":"rsa","public_key":"","permissions":1}',
        b'{"op":"key","key":"a","account":1,"kind":"ed25519","public_key":"AAAA","permissions":1}',
        b'{"op":"key","key":"a","account":"x","kind":"hmac","sealed":"AAAA","permissions":1}',
        b'{"op":"key","key":"a","account":1,"kind":"hmac","sealed":"***","permissions":1}',
        b'{"op":"key","key":"a","account":1,"kind":"hmac","sealed":5,"permissions":1}',
        b'{"op":"key","key":"a","account":1,"kind":"hmac","sealed":"AAAA","permissions":null}', b"[" * 5000,
    ],
)  # fmt: skip
async def test_no_payload_stops_it(replica: Replica, payload: bytes) -> None:
    await replica.execute(records.notes(payload))
    assert not replica.failed.done()
    assert not any(key.enabled for key in replica.registry.keys.values())
    await replica.execute(replica.registry.key_note(KEY, 1, "hmac", SECRET))
    assert replica.registry.keys[KEY].secret == SECRET


async def test_a_note_before_the_exchange_is_configured_is_nothing(
    make: MakeReplica, environment: MovedEnvironment
) -> None:
    replica = await make(MemoryLog(environment))
    await replica.execute(replica.registry.key_note(KEY, 1, "hmac", SECRET) + records.asset(b"BTC"))
    assert replica.registry.keys == {}
    assert replica.registry.assets == {}
    await replica.execute(world())
    assert len(replica.registry.assets) == 2


async def test_a_snapshot_is_the_same_registry(replica: Replica, environment: MovedEnvironment) -> None:
    registry = replica.registry
    await replica.execute(
        registry.key_note(KEY, 1, "hmac", SECRET) + registry.key_note("pub", 2, "ed25519", bytes(32))
        + registry.key_off_note("pub") + records.market_state(1, MarketState.BREAK)
    )  # fmt: skip
    again = Registry(MasterKey(bytes.fromhex("5a" * 32)), environment)
    kept = again.keys
    again.load(registry.snapshot())
    assert again.snapshot() == registry.snapshot()
    assert kept is again.keys
    assert again.keys == registry.keys
    assert again.markets["BTCUSDT"].status == "BREAK"
    assert dict(again.accounts) == dict(registry.accounts)
    for data in (b"", b"{}", b'{"version":2}', registry.snapshot()[:-1]):
        with pytest.raises(ValueError):
            again.load(data)


def test_new_keys(environment: MovedEnvironment) -> None:
    registry = Registry(MasterKey(bytes(32)), environment)
    texts = {text for _ in range(20) for text in registry.new_hmac_key()}
    assert len(texts) == 40
    assert all(len(text) == 64 and text.isascii() and text.isalnum() for text in texts)


def test_the_master_key_is_made_once(environment: MovedEnvironment, tmp_path: Path) -> None:
    first = master_key(tmp_path / "new", environment, variables={})
    path = tmp_path / "new" / "master.key"
    assert first.made_at == path
    assert path.stat().st_mode & 0o777 == 0o600
    sealed = first.seal(SECRET, b"about", bytes(12))
    again = master_key(tmp_path / "new", environment, variables={})
    assert again.made_at is None
    assert again.open(sealed, b"about") == SECRET
    assert again.open(sealed, b"else") is None
    assert again.open(b"", b"about") is None
    given = master_key(tmp_path / "new", environment, path.read_text(), {"BIDHALL_MASTER_KEY": "00" * 32})
    assert given.open(sealed, b"about") == SECRET
    other = master_key(tmp_path / "new", environment, variables={"BIDHALL_MASTER_KEY": "00" * 32})
    assert other.open(sealed, b"about") is None


@pytest.mark.parametrize("text", ["zz", "00" * 31, "00" * 33, "ü"])
def test_a_bad_master_key_is_refused(environment: MovedEnvironment, tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused, match="master key"):
        master_key(tmp_path, environment, text)
