# SPDX-License-Identifier: Apache-2.0
"""Settings of a server: flags before environment before a TOML file before the defaults.

The command line calls `load`. In the environment a name is BIDHALL_ and the setting in capitals, with two underscores
into a table: BIDHALL_PORT=8080, BIDHALL_DOOR__PIPELINE_MAX=64. A name that is not known is refused with the nearest
one that is: a misspelt limit that is silently ignored is worse than a server that does not start.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bidhall.api.app import DoorSettings
from bidhall.api.feed_settings import FeedSettings
from bidhall.documents import field_names, field_types, nearest
from bidhall.replica import ReplicaSettings
from bidhall.sinks.settings import HistorySettings

PREFIX: Final = "BIDHALL_"
SQLITE: Final = "sqlite:///"
# Names in the environment that other parts of the project read.
OTHERS: Final = frozenset(
    {"BIDHALL_CONFIG", "BIDHALL_BUILD", "BIDHALL_MARCH", "BIDHALL_JOBS", "BIDHALL_DATA", "BIDHALL_TEST_SEED"}
    | {"BIDHALL_FOLDER", "BIDHALL_ADMIN_URL", "BIDHALL_ADMIN_KEY", "BIDHALL_MASTER_KEY"}
    | {"BIDHALL_BENCH_SECONDS", "BIDHALL_BENCH_COMMANDS", "BIDHALL_BENCH_ORDERS"}
    | {"BIDHALL_FLAT_SECONDS", "BIDHALL_FLAT_RATE"}
)


class BadSettings(ValueError):
    """The settings cannot be taken; the text says which and why."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a server. `door`, `feeds`, `replica` and `history` are tables of their own."""

    log: str = "sqlite:///bidhall-data"
    data: str = ""  # where snapshots and keys of this process are kept, when its log is in a database
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    seed_file: str = ""
    demo: bool = False
    demo_seed: int = 1
    door: DoorSettings = DoorSettings()
    feeds: FeedSettings = FeedSettings()
    replica: ReplicaSettings = ReplicaSettings()
    history: HistorySettings = HistorySettings()

    @property
    def folder(self) -> Path | None:
        """Where everything of this process lives; None when it keeps nothing of its own."""
        if self.log.startswith(SQLITE):
            return Path(self.log.removeprefix(SQLITE))
        return Path(self.data) if self.data else None



def load(flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None = None) -> Settings:
    """The settings of this start. Flags that are None were not given."""
    config = config or (Path(environment["BIDHALL_CONFIG"]) if environment.get("BIDHALL_CONFIG") else None)
    merged: dict[str, Any] = {}
    if config is not None:
        _merge(merged, _file(config))
    _merge(merged, _variables(environment))
    _merge(merged, {name: value for name, value in flags.items() if value is not None})
    if merged.get("data") and str(merged.get("log", SQLITE)).startswith(SQLITE):
        raise BadSettings("data: a log in a folder keeps everything there; leave data out")
    twice = sorted(set(merged.get("door", {})) & {"host", "port", "admin_host", "admin_port", "admin_key"})
    if twice:
        raise BadSettings(f"door.{twice[0]}: set {twice[0]} at the top instead")
    return _converted(merged)


def _file(path: Path) -> dict[str, Any]:
    import tomllib  # only who has such a file waits for it

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from None


def _variables(environment: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in OTHERS:
            continue
        *tables, last = name.removeprefix(PREFIX).lower().split("__")
        place = tree
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise BadSettings(f"{name}: {table} is no table")
        place[last] = value
    return tree


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = dict(value) if isinstance(value, Mapping) else value


def _converted(tree: dict[str, Any]) -> Settings:
    _check_names(tree, Settings, "")
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadSettings(_explained(str(error))) from None


def _check_names(tree: Mapping[str, Any], shape: Any, path: str) -> None:
    known = field_types(shape)
    for name, value in tree.items():
        if name not in known:
            hint = nearest(name, sorted(known) if path else sorted(field_names(Settings)))
            raise BadSettings(f"unknown setting {path}{name}{hint}")
        if isinstance(value, Mapping):
            if not field_types(known[name]):
                raise BadSettings(f"{path}{name}: is a value, not a table")
            _check_names(value, known[name], f"{path}{name}.")


def _explained(text: str) -> str:
    """`Expected `int`, got `str` - at `$.door.port``, the place first."""
    reason, _, place = text.partition(" - at ")
    return f"{place.strip('`').removeprefix('$.')}: {reason[:1].lower()}{reason[1:]}"
