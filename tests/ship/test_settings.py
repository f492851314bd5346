# SPDX-License-Identifier: Apache-2.0
"""Settings: which source wins, and what is refused."""

from pathlib import Path

import pytest

from bidhall.settings import BadSettings, load


def test_defaults() -> None:
    settings = load({}, {})
    assert (settings.log, settings.port, settings.host) == ("sqlite:///bidhall-data", 8080, "127.0.0.1")
    assert settings.folder == Path("bidhall-data")
    assert load({"log": "memory:"}, {}).folder is None
    assert load({"log": "sqlite:////data"}, {}).folder == Path("/data")


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bidhall.toml"
    file.write_text('port = 1\nadmin_port = 1\nhost = "0.0.0.0"\n[door]\npipeline_max = 5\nkeep_alive_s = 3\n')
    variables = {"BIDHALL_PORT": "2", "BIDHALL_ADMIN_PORT": "2", "BIDHALL_DOOR__PIPELINE_MAX": "7"}
    settings = load({"port": 3, "admin_port": None}, {**variables, "BIDHALL_DEMO": "true"}, file)
    assert (settings.port, settings.admin_port, settings.host, settings.demo) == (3, 2, "0.0.0.0", True)
    assert (settings.door.pipeline_max, settings.door.keep_alive_s) == (7, 3.0)
    assert load({}, {"BIDHALL_CONFIG": str(file)}).port == 1


@pytest.mark.parametrize(
    ("flags", "variables", "text"),
    [
        ({}, {"BIDHALL_PROT": "1"}, "unknown setting prot; did you mean 'port'"),
        ({}, {"BIDHALL_DOOR__PIPELINE": "1"}, "unknown setting door.pipeline; did you mean 'pipeline_max'"),
        ({"feeds": {"connection_max": 1}}, {}, "unknown setting feeds.connection_max; did you mean 'connections_max'"),
        ({}, {"BIDHALL_PORT": "many"}, "port: "),
        ({}, {"BIDHALL_PORT__X": "1"}, "port: "),
        ({"door": {"port": 5}}, {}, "set port at the top instead"),
    ],
)
def test_what_is_refused(flags: dict[str, object], variables: dict[str, str], text: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load(flags, variables)
    assert text in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file"):
        load({}, {}, tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("port = ")
    with pytest.raises(BadSettings, match=r"bad\.toml"):
        load({}, {}, tmp_path / "bad.toml")


def test_names_that_other_parts_read_are_no_settings() -> None:
    assert load({}, {"BIDHALL_BUILD": "debug", "BIDHALL_DATA": "x", "OTHER": "y"}).port == 8080
