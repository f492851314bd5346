# SPDX-License-Identifier: Apache-2.0
"""Seeding: everything arrives, once, also when a start was cut off in the middle."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bidhall import seed as seeding
from bidhall.core import records
from bidhall.documents import BadDocument, SeedDocument, convert
from bidhall.replica import Replica
from tests.ship.running import replica_over

PUBLIC_KEY = Ed25519PrivateKey.generate().public_key()
PEM = PUBLIC_KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def document(accounts: int = 2) -> SeedDocument:
    return convert(
        {
            "limits": {"accounts": 5000},
            "assets": [{"name": "BTC"}, {"name": "USDT", "decimals": 6}],
            "markets": [{"name": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "step": "0.0001"}],
            "accounts": [
                {
                    "name": f"account {number}",
                    "balances": {"BTC": "1.5", "USDT": "0"},
                    "keys": [
                        {"key": f"{number:064}", "secret": "s" * 64, "label": "one"},
                        {"key": f"e{number:063}", "public_key": PEM, "permissions": ["read"]},
                    ],
                }
                for number in range(1, accounts + 1)
            ],
        },
        SeedDocument,
    )


def check(replica: Replica, accounts: int) -> None:
    registry, exchange = replica.registry, replica.exchange
    assert [asset.name for asset in registry.assets.values()] == ["BTC", "USDT"]
    assert list(registry.markets) == ["BTCUSDT"]
    assert len(registry.accounts) == accounts
    assert all(exchange.balances(number) == [(1, 150_000_000, 0)] for number in registry.accounts)
    key = registry.keys[f"{accounts:064}"]
    assert (key.account, key.kind, key.secret, key.permissions, key.label) == (accounts, "hmac", b"s" * 64, 3, "one")
    key = registry.keys[f"e{accounts:063}"]
    assert (key.account, key.kind, key.permissions) == (accounts, "ed25519", 1)
    assert key.public_key == PUBLIC_KEY.public_bytes_raw()


async def test_an_empty_exchange_gets_it_all_once() -> None:
    async with replica_over() as replica:
        assert await seeding.apply(document(), replica)
        check(replica, 2)
        before = replica.exchange.state_hash()
        assert not await seeding.apply(document(), replica)
        assert replica.exchange.state_hash() == before


async def test_an_exchange_with_a_history_is_left_alone() -> None:
    async with replica_over() as replica:
        await seeding.apply(SeedDocument(), replica)
        await replica.execute(records.asset(b"EUR"))
        assert not await seeding.apply(document(), replica)
        assert list(replica.registry.asset_by_name) == ["EUR"]


async def test_a_start_that_was_cut_off_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever piece was the last to be durable."""
    monkeypatch.setattr(seeding, "PIECE_COMMANDS", 40)
    whole = list(seeding._pieces(list(seeding._groups(document(30), _keyless())), 0))
    assert len(whole) > 3
    for cut in range(1, len(whole)):
        async with replica_over() as replica:
            for piece in list(seeding._pieces(list(seeding._groups(document(30), replica.registry)), 0))[:cut]:
                await replica.execute(piece)
            assert await seeding.apply(document(30), replica)
            check(replica, 30)
            assert not await seeding.apply(document(30), replica)


async def test_what_the_kernel_refuses_is_named() -> None:
    async with replica_over() as replica:
        twice = convert({"assets": [{"name": "BTC"}], "limits": {"assets": 0}}, SeedDocument)
        with pytest.raises(BadDocument, match=r"refused command \d of the seed"):
            await seeding.apply(twice, replica)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"assets": [{"name": "BTC"}, {"name": "BTC"}]}, "there twice"),
        ({"assets": [{"name": "BTC", "decimals": 300}]}, "out of range"),
        ({"accounts": [{"balances": {"BTC": "1"}}]}, "unknown asset 'BTC'"),
        ({"accounts": [{"keys": [{"key": "k", "secret": "s", "permissions": ["fly"]}]}]}, "unknown permission 'fly'"),
        ({"accounts": [{"keys": [{"key": "k", "public_key": "no key"}]}]}, "public_key"),
    ],
)
async def test_what_cannot_be_seeded(changes: dict[str, object], text: str) -> None:
    async with replica_over() as replica:
        with pytest.raises(BadDocument, match=text):
            await seeding.apply(convert(changes, SeedDocument), replica)
        assert replica.exchange.sequence == 0


async def test_add_brings_what_is_missing_and_changes_nothing_else() -> None:
    async with replica_over() as replica:
        await seeding.apply(document(1), replica)
        await seeding.add(document(2), replica)
        check(replica, 2)
        before = replica.exchange.state_hash()
        await seeding.add(document(2), replica)
        assert replica.exchange.state_hash() == before


class _keyless:  # noqa: N801
    """Stands for a registry whose key notes are as long as the real ones."""

    def key_note(self, *_: object, **__: object) -> bytes:
        return records.notes(b"x" * 200)
