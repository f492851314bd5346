# SPDX-License-Identifier: Apache-2.0
"""The admin API: assets, markets, accounts, money in and out, API keys, market states, kill, snapshot, state.

Who calls it: operators and `bidhall admin`, on a port and with a key of its own (header X-Admin-Key). Every change is a
command in the log (`replica.execute`). With an `Idempotency-Key` header a request that is sent again, to whichever
process, is done once. What may never happen here: a change that is not in the log, or a secret shown twice.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bidhall.api import admin_shapes as shapes
from bidhall.core.records import CommandKind, EventKind, account_change, deposit, kill, market_state, withdraw
from bidhall.documents import AccountDocument, AssetDocument, BadDocument, KeyDocument, MarketDocument, convert, exact
from bidhall.protocol import errors, signatures
from bidhall.protocol.errors import ApiError
from bidhall.replica import NotReady, Outcome, OutcomeKind, Overloaded

if TYPE_CHECKING:
    from bidhall.environment import Environment
    from bidhall.protocol.markets import Market

logger = logging.getLogger("bidhall.api")

BODY_BYTES_MAX: Final = 65_536
REMEMBERED_MAX: Final = 1_000
DIGEST_AT: Final = 72  # of a command record; MARKET and NOTE records have other things there
DIGESTED: Final = frozenset(
    {
        CommandKind.ASSET,
        CommandKind.ACCOUNT,
        CommandKind.ACCOUNT_CHANGE,
        CommandKind.MARKET_STATE,
        CommandKind.DEPOSIT,
        CommandKind.WITHDRAW,
        CommandKind.KILL,
    }
)

DECODER: Final = msgspec.json.Decoder(float_hook=str)  # an amount keeps every digit it was written with

Call = Callable[["Asked"], Awaitable[Any]]


class Asked:
    """One admin request: its body, the parts of its path, and what makes a repeat recognisable."""

    __slots__ = ("commands", "data", "idempotency", "path")

    def __init__(self, path: dict[str, str], data: Any, idempotency: bytes) -> None:
        self.path = path
        self.data = data
        self.idempotency = idempotency
        self.commands = 0  # how many commands of this request went to the log: each gets a digest of its own

    def stamped(self, command: bytes) -> bytes:
        """The command under this request's digest, when it has one and the command has room for it."""
        if not self.idempotency or command[0] not in DIGESTED:
            return command
        self.commands += 1
        digest = blake2b(b"%b %d" % (self.idempotency, self.commands), digest_size=16).digest()
        return command[:DIGEST_AT] + digest + command[DIGEST_AT + 16 :]


class Admin:
    """The handlers of port 8081."""

    def __init__(
        self, replica: Any, environment: Environment, admin_key: str, describe: Callable[[], dict[str, Any]]
    ) -> None:
        self.replica = replica
        self.registry = replica.registry
        self.environment = environment
        self.admin_key = admin_key.encode()
        self.describe = describe  # what the door says about itself
        self.faults = 0
        self._remembered: dict[bytes, Any] = {}  # answers by idempotency key: futures while they are made, then bytes

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                self.route("GET", "/admin/assets", self.assets),
                self.route("POST", "/admin/assets", self.create_asset),
                self.route("GET", "/admin/markets", self.markets),
                self.route("POST", "/admin/markets", self.create_market),
                self.route("PUT", "/admin/markets/{market}/state", self.set_state),
                self.route("PUT", "/admin/state", self.set_states),
                self.route("GET", "/admin/accounts", self.accounts),
                self.route("POST", "/admin/accounts", self.create_account),
                self.route("GET", "/admin/accounts/{account}", self.account),
                self.route("PATCH", "/admin/accounts/{account}", self.change_account),
                self.route("POST", "/admin/accounts/{account}/deposits", self.deposit),
                self.route("POST", "/admin/accounts/{account}/withdrawals", self.withdraw),
                self.route("POST", "/admin/accounts/{account}/kill", self.kill),
                self.route("GET", "/admin/accounts/{account}/keys", self.keys),
                self.route("POST", "/admin/accounts/{account}/keys", self.create_key),
                self.route("DELETE", "/admin/keys/{key}", self.disable_key),
                self.route("POST", "/admin/snapshot", self.snapshot),
                self.route("GET", "/admin/state", self.state),
            ],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )

    # --- the way in and out --------------------------------------------------------------------------------------

    def route(self, method: str, path: str, call: Call) -> Route:
        """A Starlette route around a handler: key, body, idempotency, errors."""

        async def endpoint(request: Request) -> Response:
            try:
                self.check_key(request)
                data = await _body(request)
                return await self.once(request, path, data, call)
            except ApiError as error:
                return _refusal(error)
            except BadDocument as error:
                return _refusal(ApiError(-1130, str(error)))
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception:
                self.faults += 1
                logger.exception("bug in the handler of %s %s", method, path)
                return _refusal(errors.internal())

        return Route(path, endpoint, methods=[method])

    def check_key(self, request: Request) -> None:
        """Raises -2015 without the right X-Admin-Key."""
        given = request.headers.get("x-admin-key", "").encode("utf-8", "replace")
        if not self.admin_key or not hmac.compare_digest(given, self.admin_key):
            raise errors.bad_key()

    async def once(self, request: Request, path: str, data: Any, call: Call) -> Response:
        """Answer; a repeat under the same Idempotency-Key gets the first answer."""
        text = request.headers.get("idempotency-key", "")
        if not text or request.method == "GET":
            return _answer(await call(Asked(request.path_params, data, b"")))
        if len(text) > 255:
            raise ApiError(-1130, "Idempotency-Key: at most 255 characters")
        identity = blake2b(f"{request.method} {request.url.path}\n{text}".encode(), digest_size=16).digest()
        known = self._remembered.get(identity)
        if known is not None:
            return _answer(await _first(known))
        future = self._remembered[identity] = self.environment.create_future()
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.pop(next(iter(self._remembered)))
        try:
            answer = await call(Asked(request.path_params, data, identity))
        except BaseException:
            # Nothing is remembered of a refusal: the next try is judged anew (what the log did remember, it answers).
            self._remembered.pop(identity, None)
            future.cancel()
            raise
        future.set_result(answer)
        return _answer(answer)

    async def execute(self, asked: Asked, command: bytes) -> Outcome:
        """One command through the log; raises what refuses it."""
        try:
            outcome: Outcome = await self.replica.execute(asked.stamped(command))
        except Overloaded:
            raise errors.busy() from None
        except NotReady:
            raise errors.shutting_down() from None
        if outcome.kind is not OutcomeKind.DONE:
            raise errors.unknown_outcome() if outcome.kind is OutcomeKind.UNKNOWN else errors.busy()
        first = outcome.events[0]
        if first.kind == EventKind.REJECTED or (first.kind == EventKind.REPEATED and first.code):
            raise shapes.refusal(first.code, command[0])
        if first.kind == EventKind.REPEATED:
            if outcome.first_repeated is None:
                raise errors.unknown_outcome()
            return outcome.first_repeated
        return outcome

    # --- assets and markets --------------------------------------------------------------------------------------

    async def assets(self, asked: Asked) -> Any:
        """GET /admin/assets"""
        return [shapes.asset(self.replica.exchange, asset) for asset in self.registry.assets.values()]

    async def create_asset(self, asked: Asked) -> Any:
        """POST /admin/assets"""
        document = convert(asked.data, AssetDocument, "asset")
        outcome = await self.execute(asked, shapes.packed(document.command, "asset"))
        return shapes.asset(self.replica.exchange, self.registry.assets[outcome.events[0].asset])

    async def markets(self, asked: Asked) -> Any:
        """GET /admin/markets"""
        return [shapes.market(self.replica.exchange, market) for market in self.registry.markets.values()]

    async def create_market(self, asked: Asked) -> Any:
        """POST /admin/markets"""
        document = convert(asked.data, MarketDocument, "market")
        outcome = await self.execute(asked, shapes.packed(lambda: document.command(self.asset_ids()), "market"))
        return shapes.market(self.replica.exchange, self.registry.market_by_id[outcome.events[0].market])

    async def set_state(self, asked: Asked) -> Any:
        """PUT /admin/markets/{market}/state"""
        wanted = shapes.state_of(convert(asked.data, shapes.StateDocument, "state").state)
        market = self.market(asked.path["market"])
        await self.execute(asked, market_state(market.id, wanted))
        return shapes.market(self.replica.exchange, market)

    async def set_states(self, asked: Asked) -> Any:
        """PUT /admin/state: of the markets that are named, or of the whole exchange, one after the other"""
        document = convert(asked.data, shapes.ExchangeStateDocument, "state")
        wanted = shapes.state_of(document.state)
        names = list(self.registry.markets) if document.markets is None else document.markets
        chosen = [self.market(name) for name in names]
        for market in chosen:
            await self.execute(asked, market_state(market.id, wanted))
        return [shapes.market(self.replica.exchange, market) for market in chosen]

    def market(self, name: str) -> Market:
        """The market of that name; raises -1121."""
        market: Market | None = self.registry.markets.get(name)
        if market is None:
            raise errors.invalid_symbol()
        return market

    def asset_ids(self) -> dict[str, tuple[int, int]]:
        """Id and decimals by name."""
        return {asset.name: (asset.id, asset.decimals) for asset in self.registry.assets.values()}

    # --- accounts ------------------------------------------------------------------------------------------------

    async def accounts(self, asked: Asked) -> Any:
        """GET /admin/accounts"""
        return [shapes.account(self.replica, number) for number in self.registry.accounts]

    async def account(self, asked: Asked) -> Any:
        """GET /admin/accounts/{account}"""
        return shapes.account(self.replica, self.number(asked))

    async def create_account(self, asked: Asked) -> Any:
        """POST /admin/accounts, with balances and keys when they are given; all of it is checked before any is done"""
        document = convert(asked.data, AccountDocument, "account")
        command = shapes.packed(document.command, "account")
        shapes.packed(lambda: document.deposits(1, self.asset_ids()), "balances")
        for key in document.keys:
            self.check_key_document(key)
        outcome = await self.execute(asked, command)
        number = outcome.events[0].account
        deposits = document.deposits(number, self.asset_ids())
        for offset in range(0, len(deposits), len(command)):
            await self.execute(asked, deposits[offset : offset + len(command)])
        made = [await self.make_key(asked, number, key) for key in document.keys]
        return {**shapes.account(self.replica, number), "keys": made}

    async def change_account(self, asked: Asked) -> Any:
        """PATCH /admin/accounts/{account}: what is not named stays"""
        number = self.number(asked)
        change = convert(asked.data, shapes.AccountChange, "account")
        fields = self.replica.exchange.account(number)
        fields.update(shapes.packed(change.fields, "account"))
        await self.execute(asked, shapes.packed(lambda: account_change(number, **fields), "account"))
        return shapes.account(self.replica, number)

    async def deposit(self, asked: Asked) -> Any:
        """POST /admin/accounts/{account}/deposits"""
        return await self.move(asked, deposit)

    async def withdraw(self, asked: Asked) -> Any:
        """POST /admin/accounts/{account}/withdrawals"""
        return await self.move(asked, withdraw)

    async def move(self, asked: Asked, command: Callable[[int, int, int], bytes]) -> Any:
        """Money in or out; answers with the balance after it."""
        number = self.number(asked)
        document = convert(asked.data, shapes.MoneyDocument, "amount")
        asset = self.registry.asset_by_name.get(document.asset)
        if asset is None:
            raise BadDocument(f"asset: unknown {document.asset!r}")
        units = exact(document.amount, asset.decimals, "amount")
        if units <= 0:
            raise BadDocument("amount: must be above 0")
        outcome = await self.execute(asked, shapes.packed(lambda: command(number, asset.id, units), "amount"))
        event = outcome.events[0]
        return shapes.balance(asset, event.executed_steps, event.executed_quote_units)

    async def kill(self, asked: Asked) -> Any:
        """POST /admin/accounts/{account}/kill: its open orders leave at once, whatever state their market is in"""
        number = self.number(asked)
        document = convert(asked.data, shapes.KillDocument, "kill")
        market = 0 if document.market is None else self.market(document.market).id
        outcome = await self.execute(asked, kill(number, market, close=document.close))
        return {**shapes.account(self.replica, number), "killed_orders": outcome.events[0].quantity_steps}

    def number(self, asked: Asked) -> int:
        """The account of the path; raises when there is none."""
        text = asked.path["account"]
        number = int(text) if text.isdigit() and text.isascii() and len(text) < 10 else 0
        if number not in self.registry.accounts:
            raise ApiError(-1130, f"account: there is no account {text[:40]!r}", 404)
        return number

    # --- keys ----------------------------------------------------------------------------------------------------

    async def keys(self, asked: Asked) -> Any:
        """GET /admin/accounts/{account}/keys, without secrets"""
        number = self.number(asked)
        return [shapes.key(key) for key in self.registry.keys.values() if key.account == number]

    async def create_key(self, asked: Asked) -> Any:
        """POST /admin/accounts/{account}/keys: with nothing said, a new HMAC key whose secret is shown this once"""
        number = self.number(asked)
        wanted = convert({"key": "", **asked.data}, KeyDocument, "key")
        self.check_key_document(wanted)
        return await self.make_key(asked, number, wanted)

    def check_key_document(self, document: KeyDocument) -> None:
        """Raises when this key could not be made."""
        if document.secret or document.public_key:
            document.signing()
        if document.key:
            try:
                signatures.check_key_format(document.key)
            except ApiError as error:
                raise BadDocument(f"key: {error.message}") from None
            if document.key in self.registry.keys:
                raise BadDocument("key: there is one of that text already")
        shapes.key_permissions(document.permissions)

    async def make_key(self, asked: Asked, account: int, document: KeyDocument) -> Any:
        """Put a key into the log; the answer holds a secret only when it was made here."""
        text, secret = self.registry.new_hmac_key(self.environment)
        text = document.key or text
        permissions = shapes.key_permissions(document.permissions)
        kind, kept = document.signing() if document.secret or document.public_key else ("hmac", secret.encode())
        note = self.registry.key_note(text, account, kind, kept, permissions=permissions, label=document.label)
        await self.execute(asked, note)
        shown = shapes.key(self.registry.keys[text])
        return shown if document.secret or document.public_key else {**shown, "secret": secret}

    async def disable_key(self, asked: Asked) -> Any:
        """DELETE /admin/keys/{key}: it is kept, and refused from now on"""
        text = asked.path["key"]
        if text not in self.registry.keys:
            raise ApiError(-1130, "key: there is none of that text", 404)
        await self.execute(asked, self.registry.key_off_note(text))
        return shapes.key(self.registry.keys[text])

    # --- the process ---------------------------------------------------------------------------------------------

    async def snapshot(self, asked: Asked) -> Any:
        """POST /admin/snapshot"""
        path = await self.replica.snapshot()
        return {"position": self.replica.position, "file": None if path is None else path.name}

    async def state(self, asked: Asked) -> Any:
        """GET /admin/state: where this process stands, with the hashes and an audit of the money"""
        exchange = self.replica.exchange
        try:
            exchange.audit()
            audit = "good"
        except Exception as broken:
            audit = str(broken)
        return {
            "position": self.replica.position,
            "time_ns": self.replica.time_ns,
            "sequence": exchange.sequence,
            "rules": exchange.rules,
            "event_hash": exchange.event_hash.hex(),
            "state_hash": exchange.state_hash().hex(),
            "audit": audit,
            "ready": self.replica.ready,
            "assets": exchange.asset_count,
            "markets": exchange.market_count,
            "accounts": exchange.account_count,
            "open_orders": exchange.open_order_count,
            "keys": len(self.registry.keys),
            **self.describe(),
        }


async def _first(known: Any) -> Any:
    """The answer of the request that came first under this key, when it has one."""
    import asyncio

    try:
        return await asyncio.shield(known)
    except asyncio.CancelledError:
        if known.cancelled():
            raise errors.unknown_outcome() from None
        raise


async def _body(request: Request) -> Any:
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > BODY_BYTES_MAX:
            raise ApiError(-1130, "body: too large", 413)
    if request.method in ("GET", "DELETE") and not raw:
        return {}
    try:
        data = DECODER.decode(raw) if raw else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise errors.invalid_json() from None
    if not isinstance(data, dict):
        raise errors.invalid_json()
    return data


def _answer(data: Any) -> Response:
    return Response(orjson.dumps(data), media_type="application/json;charset=UTF-8")


def _refusal(error: ApiError) -> Response:
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else None
    return Response(error.body, error.status, headers, media_type="application/json;charset=UTF-8")


async def _not_found(request: Request, error: Exception) -> Response:
    return _refusal(errors.not_found())


async def _not_allowed(request: Request, error: Exception) -> Response:
    return _refusal(errors.method_not_allowed())
