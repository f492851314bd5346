# SPDX-License-Identifier: Apache-2.0
"""What is said about the project is true of it: version, changelog, README, records that old logs rely on."""

import json
import re
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

import bidhall
from bidhall.core import records
from tests.house import tree

KNOWN_VALUES = Path(__file__).with_name("record_values.json")


def test_version_is_the_changelogs() -> None:
    """What is not released yet may stand above it."""
    headings = re.findall(r"^## (\S+)", tree.text(tree.ROOT / "CHANGELOG.md"), re.MULTILINE)
    released = [name for name in headings if name != "Unreleased"]
    assert released[0] == bidhall.__version__
    assert headings.index(released[0]) <= 1


def test_licence_is_apache_2() -> None:
    assert "Apache License" in tree.text(tree.ROOT / "LICENSE")


def values() -> dict[str, dict[str, int]]:
    """Every enum of the records."""
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, IntEnum | IntFlag)]
    own = [kind for kind in kinds if kind.__module__.startswith("bidhall.core.")]
    return {kind.__name__: {name: int(member) for name, member in kind.__members__.items()} for kind in own}


def test_values_of_records_are_never_reused() -> None:
    """Old logs hold these numbers. A new name takes a new number and is added to the file; nothing else may change."""
    known: dict[str, dict[str, int]] = json.loads(tree.text(KNOWN_VALUES))
    now = values()
    for kind, members in known.items():
        for name, value in members.items():
            taken = [other for other, number in now.get(kind, {}).items() if number == value]
            assert taken == [name], f"{kind}.{name} = {value} was given out; it is {taken} now"
    new = {kind: set(members) - set(known.get(kind, {})) for kind, members in now.items()}
    assert not any(new.values()), f"add to {KNOWN_VALUES.name}: {new}"


def test_sizes_of_records_stay() -> None:
    sizes = {"COMMAND": 192, "EVENT": 128, "ORDER": 224, "TOP": 64, "POSITION": 32}
    assert {name: getattr(records, name).itemsize for name in sizes} == sizes
    assert {name: getattr(records, f"{name}_STRUCT").size for name in sizes} == sizes


def readme() -> str:
    return tree.text(tree.ROOT / "README.md")


def test_every_promise_has_a_test_that_exists() -> None:
    section = readme().split("## Promises")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if re.match(r"\|\s*\d+", line)]
    assert len(rows) == 11, "DESIGN §2 makes eleven promises"
    for row in rows:
        links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", row)
        assert links, f"no test: {row}"
        for link in links:
            assert (tree.ROOT / link).is_file(), f"{link} does not exist: {row}"


def test_named_tests_in_readme_exist() -> None:
    for path, name in re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", readme()):
        target = tree.ROOT / name
        assert f"def {path}" in tree.text(target), f"{path} is not in {name}"


def test_links_in_documents_lead_somewhere() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md"):
        path = tree.ROOT / document
        if not path.exists():
            continue
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", tree.text(path)):
            if "://" not in link and not link.startswith("mailto:"):
                assert (path.parent / link).exists(), f"{document}: {link}"


@pytest.mark.parametrize("target", ["run", "test", "bench", "check", "proof", "image"])
def test_make_knows_what_the_documents_say(target: str) -> None:
    assert re.search(rf"^{target}:", tree.text(tree.ROOT / "Makefile"), re.MULTILINE)
