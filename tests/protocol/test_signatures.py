# SPDX-License-Identifier: Apache-2.0
"""Signatures: the vectors of Binance's own documentation, and what must not pass."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from bidhall.protocol import endpoints, requests, signatures, ws_api
from bidhall.protocol.errors import ApiError

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PAYLOAD = (
    b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
WIDE_PAYLOAD = PAYLOAD.replace(b"LTCBTC", b"%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96")
WIDE_SIGNATURE = "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"
# fix-api.md: the one Ed25519 private key that the documentation prints, and what it signs there.
ED25519_DER = b64decode("MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u")
ED25519_PAYLOAD = b"A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223"
ED25519_SIGNATURE = "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="


@pytest.mark.parametrize(("payload", "signature"), [(PAYLOAD, SIGNATURE), (WIDE_PAYLOAD, WIDE_SIGNATURE)])
def test_documented_hmac_vectors(payload: bytes, signature: str) -> None:
    assert signatures.verify_hmac(SECRET, payload, signature)
    assert signatures.verify_hmac(SECRET, payload, signature.upper())
    assert not signatures.verify_hmac(SECRET, payload + b" ", signature)
    assert not signatures.verify_hmac(SECRET + b"x", payload, signature)
    request = requests.parse(endpoints.ORDER_POST, payload + b"&signature=" + signature.encode())
    assert request.payload == payload
    assert request.signature == signature
    assert signatures.HmacKey(SECRET).verify(request.payload, request.signature)


@pytest.mark.parametrize("at", [0, 1, 4, 8])
def test_the_signature_may_stand_anywhere(at: int) -> None:
    parts = PAYLOAD.split(b"&")
    query = b"&".join([*parts[:at], b"signature=" + SIGNATURE.encode(), *parts[at:]])
    for request in (requests.parse(endpoints.ORDER_POST, query), requests.parse(endpoints.ORDER_POST, b"", query)):
        assert request.payload == PAYLOAD
        assert signatures.verify_hmac(SECRET, request.payload, request.signature)


@pytest.mark.parametrize("cut", range(1, 8))
def test_query_and_body_are_signed_as_one_without_a_separator(cut: int) -> None:
    parts = PAYLOAD.split(b"&")
    query, body = b"&".join(parts[:cut]), b"&".join(parts[cut:])
    signature = hmac.new(SECRET, query + body, hashlib.sha256).hexdigest().encode()
    for raw_query, raw_body in (
        (query, body + b"&signature=" + signature),
        (query + b"&signature=" + signature, body),
        (b"signature=" + signature + b"&" + query, body),
    ):
        request = requests.parse(endpoints.ORDER_POST, raw_query, raw_body)
        assert request.payload == query + body
        assert signatures.verify_hmac(SECRET, request.payload, request.signature)


@pytest.mark.parametrize(
    "signature",
    ["", "0", SIGNATURE[:-1], SIGNATURE + "0", SIGNATURE[:-1] + "g", " " * 64, SIGNATURE[:62] + "  ", "é" * 64,
     "0" * 64, SIGNATURE[::-1], "٣" * 64, SIGNATURE[:32] + " " * 32],
)  # fmt: skip
def test_bad_hmac_signatures(signature: str) -> None:
    assert not signatures.verify_hmac(SECRET, PAYLOAD, signature)


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_hashed_pads_give_the_same_code(secret: bytes, payload: bytes) -> None:
    assert signatures.HmacKey(secret).sign(payload) == hmac.digest(secret, payload, "sha256")


def public(encoding: Encoding, form: PublicFormat) -> bytes:
    key = load_der_private_key(ED25519_DER, None)
    assert isinstance(key, Ed25519PrivateKey)
    return key.public_key().public_bytes(encoding, form)


PUBLIC_RAW = public(Encoding.Raw, PublicFormat.Raw)
PUBLIC_PEM = public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_DER = public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_FORMS = [
    PUBLIC_RAW, PUBLIC_PEM, PUBLIC_PEM.decode(), b64encode(PUBLIC_RAW), b64encode(PUBLIC_DER),
    b64encode(PUBLIC_DER).decode(),
]  # fmt: skip


@pytest.mark.parametrize("form", PUBLIC_FORMS)
def test_documented_ed25519_vector(form: str | bytes) -> None:
    key = signatures.load_public_key(form)
    assert signatures.verify_public(key, ED25519_PAYLOAD, ED25519_SIGNATURE)
    assert signatures.verify_public(key, ED25519_PAYLOAD, ED25519_SIGNATURE.replace("+", " "))
    assert not signatures.verify_public(key, ED25519_PAYLOAD + b"x", ED25519_SIGNATURE)
    assert not signatures.verify_public(key, ED25519_PAYLOAD, ED25519_SIGNATURE.swapcase())


@pytest.mark.parametrize(
    "signature", ["", "=", "A", "AAAA", ED25519_SIGNATURE[:-2], "é", "%2B", "\x00" * 88, b64encode(bytes(64)).decode()]
)
def test_bad_ed25519_signatures(signature: str) -> None:
    assert not signatures.verify_public(signatures.load_public_key(PUBLIC_RAW), ED25519_PAYLOAD, signature)


def test_ed25519_over_a_request_percent_encoded_or_not() -> None:
    private = load_der_private_key(ED25519_DER, None)
    assert isinstance(private, Ed25519PrivateKey)
    signature = b64encode(private.sign(PAYLOAD)).decode()
    for text in (signature, quote(signature, safe="")):
        request = requests.parse(endpoints.ORDER_POST, PAYLOAD + b"&signature=" + text.encode())
        assert request.payload == PAYLOAD
        assert signatures.verify_public(private.public_key(), request.payload, request.signature)


@pytest.mark.parametrize("text", ["", "abc", b"\xff" * 31, "-----BEGIN PUBLIC KEY-----\n", b64encode(b"x" * 44), "é"])
def test_what_is_no_public_key(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        signatures.load_public_key(text)


def signed(timestamp: object, window: object = None) -> requests.Request:
    query = f"timestamp={timestamp}&signature=00" + ("" if window is None else f"&recvWindow={window}")
    return requests.parse(endpoints.ACCOUNT, query.encode())


MS = 1_000_000
NOW = 1_700_000_000_000 * MS


@pytest.mark.parametrize(
    ("timestamp", "window", "text"),
    [
        (NOW // MS, None, None),
        (NOW // 1_000, None, None),  # µs
        (NOW // MS - 5_000, None, None),
        (NOW // MS - 5_001, None, "outside of the recvWindow"),
        (NOW // MS - 5_001, "5001", None),
        (NOW // MS - 60_000, "60000", None),
        (NOW // MS - 60_001, "60000", "outside of the recvWindow"),
        (NOW // 1_000 - 6_000_346, "6000.346", None),
        (NOW // 1_000 - 6_000_347, "6000.346", "outside of the recvWindow"),
        (NOW // MS, "0", None),
        (NOW // MS - 1, "0", "outside of the recvWindow"),
        (NOW // MS + 999, None, None),
        (NOW // MS + 1_000, None, "1000ms ahead of the server's time"),
        (NOW // 1_000 + 999_999, None, None),
        (NOW // 1_000 + 1_000_000, None, "1000ms ahead of the server's time"),
        (0, None, "outside of the recvWindow"),
        ((1 << 63) - 1, None, "1000ms ahead of the server's time"),
        (10**14 - 1, None, "1000ms ahead of the server's time"),
    ],
)
def test_time(timestamp: int, window: str | None, text: str | None) -> None:
    request = signed(timestamp, window)
    assert 0 <= request.deadline_ns < 1 << 63
    if text is None:
        signatures.check_time(request, NOW)
        return
    with pytest.raises(ApiError, match=text) as caught:
        signatures.check_time(request, NOW)
    assert caught.value.code == -1021
    assert caught.value.status == 400


def test_texts_of_time() -> None:
    for timestamp, text in (
        (0, "Timestamp for this request is outside of the recvWindow."),
        (1 << 62, "Timestamp for this request was 1000ms ahead of the server's time."),
    ):
        with pytest.raises(ApiError) as caught:
            signatures.check_time(signed(timestamp), NOW)
        assert caught.value.message == text


@pytest.mark.parametrize("text", [None, "", " ", "a b", "é", "a" * 129, "key\n", 'k"', "٣", "a=b", "a&b"])
def test_key_format(text: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        signatures.check_key_format(text)
    assert (caught.value.code, caught.value.status) == (-2014, 401)
    assert signatures.check_key_format(KEY) == KEY
    assert signatures.check_key_format("key") == "key"


def test_digest_tells_requests_apart() -> None:
    digests = {
        signatures.digest(method, path, key, payload)
        for method in (b"POST", b"DELETE")
        for path in (b"/api/v3/order", b"/api/v3/order/test")
        for key in (b"a", b"b")
        for payload in (b"", b"x=1", b"x=2")
    }
    assert len(digests) == 24
    assert all(len(digest) == 16 and any(digest) for digest in digests)


WS_FRAME = (
    '{"id":"4885f793-e5ad-4c3b-8f6c-55d891472b71","method":"order.place","params":{"symbol":"%s","side":"%s",'
    '"type":"LIMIT","timeInForce":"GTC","quantity":"%s","price":"%s","recvWindow":%s,"timestamp":1645423376532,'
    '"apiKey":"' + KEY + '","signature":"%s"}}'
)


@pytest.mark.parametrize(
    ("parts", "signature"),
    [
        (
            ("BTCUSDT", "SELL", "0.01000000", "52000.00", "100"),
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            ("１２３４５６", "BUY", "1.00000000", "0.10000000", "5000"),
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_documented_ws_vectors(parts: tuple[str, ...], signature: str) -> None:
    sent = ws_api.parse(WS_FRAME % (*parts, signature))
    plain, encoded = ws_api.payload(sent), ws_api.encoded_payload(sent)
    assert (plain == encoded) == (parts[0] == "BTCUSDT")
    assert signatures.verify_hmac(SECRET, plain, signature)
    request = ws_api.request(endpoints.WS_METHODS["order.place"], sent)
    assert (request.payload, request.signature, request.api_key) == (plain, signature, KEY)
    assert request.values["symbol"] == parts[0]


# Binance's pages print payloads, a public key and signatures for RSA, but none of the signatures is that key's. So:
# their payloads, signed as they say (openssl dgst -sha256 -sign) by a key made for this test.
RSA_PAYLOADS = [
    b"symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1&price=0.2&timestamp=1668481559918&recvWindow=5000",
    b"symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=SELL&type=LIMIT&timeInForce=GTC&quantity=1"
    b"&price=0.2&timestamp=1668481559918&recvWindow=5000",
]
RSA_PEM = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuW0aVzB2eka+ikumh6XC
WYxkUrE5vEEX4agaqFmHR/4fGn0+fSztViWaifQ35lPBAjvKRjCTy3Dkuu0PMfue
Bpbcl3vNaAxMe7lXZ+OttkAEae0eRJhCOKx8PKBTV4VnJoXHeH/Zv5w+KcGnbUHI
1FQSB8+S+IDORQd+DgjIK2dlwSJ2lCRUGBkXvEMcm9QTN7sZmAtP2g3/27zL08qk
Ec0KaN6k77Wx502NQari35mAvE00ucDQlZaLuS7pQlh/eC0TX2psMv6rG6IENRh/
UEiV215rMoI/sr0rNYt/EWt6ybRuJrjyahYOn01sMypuYJuz/QRZ0L0wFIATmUeK
cQIDAQAB
-----END PUBLIC KEY-----
"""
RSA_SIGNATURES = [
    "bXuhcMUIZUdWwmtdqycaFHT1FGrSB/eGhoaHr4ly1W9tFZvP3/9F6Hi5ip+0jAI0LGjjmEbw7DeBoPUKSxAlr8uYa7aAfccw00Tuf+g0oIA31z"
    "IJnLuWcxakwoDBTBpkNIgIQ6bclYvylu77r8JsNgjjmhotMPKr2cFZ7Mu56VRT0Uu6Xo/sGvyuhbCHodo5d7dB4UhMPpLV4nJTghpogpNI+m9e"
    "9pcD/gN/cigQmpAUGfOVM317K5uJ89LlEWkOZ2xmLE73HWxfHS3QCowjVa7ib9nLvgglDsr45e3EswselUz26CR3Pws6VYd1HcKcsqsT+szvVPwJ7Pk99tlNXg==",
    "ksdDogdURCSESzJBdbNW+nq5/2+6SIpQZdSU6HftECnYJtBdcpmU0zxeQW2ZLhqkkpScvrayHPGm0LS+OAMKZHZML47K9XnI+iGub8L2tqwQ6L"
    "7QXqm1TcN4Rr7EJ5do1xvjpjbuQP3m3IN2cBGhDqheEsVctbydkKS4hjNt6UjpzgqOCmiWH4MNo2FnUKK157YxjNjjJvS33wFEGS940N85pLhx"
    "Ik1L8F+ZbrFXCZ7U2sQfz/A0sCXtRLvq+c3DMEdQ+ZWt40m6bQlZ1w3JHl1IHNNJWVnkLPL6bTa3vbxiWw3iKyG02tsC85B04lhaVtpqFzKbUHmtxxeOWKVN7g==",
]
# The sample key of faqs/api_key_types.md, and the signature that stands beside it there.
BINANCE_RSA_PEM = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyfKiFXpcOhF5rX1XxePN
akwN7Etwtn3v05cZNY+ftDHbVZHs/kY6Ruj5lhxVFAq5dv7Ba9/4jPijXuMuIc6Y
8nUlqtrrxC8DEOAczw9SKATDYZN9nbLfYlbBFfHzRQUXdAtYCPI6XtxmJBS7aOBb
4nZe1SVm+bhLrp0YQnx2P0s+37qkGeVn09m6w9MnWxjgCkkYFPWQkXIu5qOnwx6p
NfqDmFD7d7dUc/6PZQ1bKFALu/UETsobmBk82ShbrBhlc0JXuhf9qBR7QASjHjFQ
2N+VF2PfH8dm5prZIpz/MFKPkBW4Yuss0OXiD+jQt1J2JUKspLqsIqoXjHQQGjL7
3wIDAQAB
-----END PUBLIC KEY-----
"""


def rsa_forms(pem: str) -> list[str | bytes]:
    key = load_pem_public_key(pem.encode())
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return [pem, pem.encode(), der, b64encode(der), b64encode(der).decode(), "".join(pem.split("\n")[1:-2])]


@pytest.mark.parametrize("form", rsa_forms(RSA_PEM))
def test_rsa(form: str | bytes) -> None:
    key = signatures.load_public_key(form)
    assert signatures.kind_of(key) == "rsa"
    kept = signatures.load_public_key(signatures.public_bytes(key))
    for payload, signature in zip(RSA_PAYLOADS, RSA_SIGNATURES, strict=True):
        assert signatures.verify_public(key, payload, signature)
        assert signatures.verify_public(kept, payload, signature.replace("+", " "))
        assert not signatures.verify_public(key, payload + b"x", signature)
        assert not signatures.verify_public(key, payload, signature.swapcase())
        assert not signatures.verify_public(signatures.load_public_key(BINANCE_RSA_PEM), payload, signature)
    assert not signatures.verify_public(key, RSA_PAYLOADS[0], RSA_SIGNATURES[1])
    assert not signatures.verify_public(key, RSA_PAYLOADS[0], ED25519_SIGNATURE)


@pytest.mark.parametrize("signature", ["", "=", "AAAA", RSA_SIGNATURES[0][:-2], "é", b64encode(bytes(256)).decode()])
def test_bad_rsa_signatures(signature: str) -> None:
    assert not signatures.verify_public(signatures.load_public_key(RSA_PEM), RSA_PAYLOADS[0], signature)


@pytest.mark.parametrize(("bits", "good"), [(1024, False), (2048, True), (3072, True), (4096, True)])
def test_rsa_keys_have_2048_to_4096_bits(bits: int, good: bool) -> None:
    """The modulus is no product of two primes here: nobody signs with it, only its size is looked at."""
    numbers = RSAPublicNumbers(65_537, (1 << bits) - 159)
    pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    if good:
        assert signatures.kind_of(signatures.load_public_key(pem)) == "rsa"
    else:
        with pytest.raises(ValueError, match="2048 to 4096 bits, not 1024"):
            signatures.load_public_key(pem)


def test_other_kinds_of_public_keys_are_refused() -> None:
    curve = generate_private_key(SECP256R1()).public_key()
    pem = curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="neither an Ed25519 nor an RSA key"):
        signatures.load_public_key(pem)


@given(st.binary(min_size=32, max_size=32))
def test_any_ed25519_bytes_in_base64_are_not_taken_for_der(raw: bytes) -> None:
    """Base64 of them may begin with the byte that DER begins with."""
    key = signatures.load_public_key(b64encode(raw))
    assert signatures.public_bytes(key) == raw


def test_base64_that_begins_like_der() -> None:
    raw = b"\xd0" + bytes(31)
    assert b64encode(raw)[:1] == b"0"
    assert signatures.public_bytes(signatures.load_public_key(b64encode(raw))) == raw
