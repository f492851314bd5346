# SPDX-License-Identifier: Apache-2.0
"""Judges what binance-sdk-spot made of our answers: did its strict models take them, and did they know every field?

The library does not raise when an answer does not fit: it logs a warning, loosens its own model and goes on. So the log
is what tells. Used by the test_binance_sdk*.py; it must never change a model.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any


class Complaints(logging.Handler):
    """Whatever the library warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "root":  # the library logs to the root logger itself
            self.texts.append(record.getMessage())


@contextmanager
def strictly() -> Iterator[list[str]]:
    """Fails when the library complained of anything inside."""
    handler = Complaints()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.texts
    finally:
        logging.getLogger().removeHandler(handler)
    assert not handler.texts, handler.texts


def plain(value: Any) -> Any:
    """A model with what was set in it as JSON would be, by the names of the wire."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    fields = getattr(type(value), "model_fields", None)
    if fields is None:
        return value
    if "actual_instance" in fields:
        return plain(value.actual_instance)
    known = {fields[set_].alias or set_: plain(getattr(value, set_)) for set_ in value.model_fields_set & fields.keys()}
    return {**known, **(getattr(value, "additional_properties", None) or {})}


def differences(mine: Any, sent: Any, place: str = "") -> list[str]:
    """Where what the library has is not what we sent."""
    if isinstance(mine, dict) and isinstance(sent, dict):
        return [
            line
            for name in sent.keys() | mine.keys()
            for line in differences(mine.get(name), sent.get(name), f"{place}.{name}")  # an absent one is None there
        ]
    if isinstance(mine, list) and isinstance(sent, list) and len(mine) == len(sent):
        pairs = zip(mine, sent, strict=True)
        return [line for number, pair in enumerate(pairs) for line in differences(*pair, f"{place}[{number}]")]
    return [] if mine == sent else [f"{place}: the library has {mine!r}, sent was {sent!r}"]


def parsed_whole(model: Any, raw: Any, unknown: Collection[str] = ()) -> None:
    """Every field that we sent is one that the library knows (or one of `unknown`), with the value that we sent."""
    found = [line for line in differences(plain(model), raw) if line.split(":")[0].rsplit(".", 1)[-1] not in unknown]
    if found:
        raise AssertionError("\n".join(found[:20]))
