# SPDX-License-Identifier: Apache-2.0
"""Points each client library at our server: one function a library, by the snippets of the README, to the letter.

Used by tests/clients and the proofs; `H` of the snippets is `address` here. It must never patch a library beyond what
its users would write.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.serving import key_secret, key_text

ED25519, RSA = "carol", "erin"  # who sign by a private key; everyone else signs by HMAC


@cache
def private_key(name: str) -> Ed25519PrivateKey | rsa.RSAPrivateKey:
    """Carol's or erin's."""
    if name == ED25519:
        return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def private_pem(name: str) -> str:
    """The private key, as a client is given it."""
    return (
        private_key(name)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_pem(name: str) -> str:
    """The public key, as the exchange is given it."""
    return (
        private_key(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def ccxt_options(address: str, name: str, *, sapi: bool = False) -> dict[str, Any]:
    """For `ccxt.binance`, of ccxt, ccxt.async_support and ccxt.pro alike; `sapi` is the third way of the README."""
    base = f"http://{address}/api/v3"
    api: dict[str, Any] = {
        "public": base, "private": base, "v1": f"http://{address}/api/v1",
        "ws": {
            "spot": f"ws://{address}/ws", "margin": f"ws://{address}/ws",
            "ws-api": {"spot": f"ws://{address}/ws-api/v3"},
        },
    }  # fmt: skip
    options: dict[str, Any] = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}}
    if sapi:
        for version in ("", "V2", "V3", "V4"):
            api["sapi" + version] = f"http://{address}/sapi/{version.lower() or 'v1'}"
    else:
        options.update({"fetchCurrencies": False, "fetchMargins": False})
    secret = private_pem(name) if name in (ED25519, RSA) else key_secret(name)
    return {"apiKey": key_text(name), "secret": secret, "urls": {"api": api}, "options": options}


def point_python_binance(address: str, set_attribute: Any = setattr) -> None:
    """Class attributes, set before any client is made. `set_attribute`: a test's monkeypatch, which takes them back."""
    from binance import BinanceSocketManager
    from binance.base_client import BaseClient

    set_attribute(BaseClient, "API_URL", f"http://{address}/api")
    set_attribute(BaseClient, "WS_API_URL", f"ws://{address}/ws-api/v3")
    set_attribute(BinanceSocketManager, "STREAM_URL", f"ws://{address}/")


def sdk(address: str, name: str) -> Any:
    """`Spot` of binance-sdk-spot."""
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_sdk_spot.spot import Spot

    sign = {"private_key": private_pem(name)} if name in (ED25519, RSA) else {"api_secret": key_secret(name)}
    key = key_text(name)
    return Spot(
        config_rest_api=ConfigurationRestAPI(api_key=key, base_path=f"http://{address}", timeout=5000, **sign),
        config_ws_api=ConfigurationWebSocketAPI(api_key=key, stream_url=f"ws://{address}/ws-api/v3", **sign),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"ws://{address}"),
    )


def unicorn(address: str) -> Any:
    """`BinanceWebSocketApiManager` of unicorn-binance-websocket-api."""
    from unicorn_binance_websocket_api.manager import BinanceWebSocketApiManager

    return BinanceWebSocketApiManager(
        exchange="binance.com",
        websocket_base_uri=f"ws://{address}/",
        websocket_api_base_uri=f"ws://{address}/ws-api/v3",
        restful_base_uri=f"http://{address}",
        disable_colorama=True,
        warn_on_update=False,
    )
