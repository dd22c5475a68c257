from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, option
from metering.process.probe import EXIT_USAGE
from metering.process.service import EXIT_OK, ServiceContext, ServiceSettings
from metering.process.service_command import Configuration, load_configuration, service_command


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One section."""

    rows: int = option(doc="Rows.", default=3)
    token: Secret | None = option(doc="A token.", default=None)


async def ends(_: ServiceContext, configuration: Configuration) -> None:
    assert configuration.of(Sample).rows == 5


async def unreachable(_: ServiceContext, configuration: Configuration) -> None:
    raise AssertionError(configuration)


def needs_meters(document: Mapping[str, Any]) -> Iterable[str]:
    return () if document.get("meters") else ("[[meters]] is missing",)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAXIMETER_CONFIG", raising=False)
    return tmp_path


def command(main: Any, *arguments: str, check: bool = False) -> int:
    check_file = needs_meters if check else (lambda _: ())
    return service_command(main, name="sample", summary="A sample.", sections={"sample": Sample}, check_file=check_file, arguments=arguments)


def test_check_config_prints_every_problem_and_exits(own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (own_folder / "taximeter.toml").write_text("[sample]\nrows = 'many'\n")
    monkeypatch.setenv("TAXIMETER_SERVICE_ADMIN_PORT", "-1")
    monkeypatch.setenv("TAXIMETER_SAMPLE_TOKEN", "planted-secret")
    assert command(unreachable, "--check-config", check=True) == EXIT_USAGE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "sample: rows in [sample] is many: not an integer; it takes an integer",
        "sample: TAXIMETER_SERVICE_ADMIN_PORT is -1: too small; it takes an integer from 0 to 65535",
        "sample: [[meters]] is missing",
    ]


def test_check_config_says_when_all_is_well_and_does_not_run(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_folder / "other.toml"
    path.write_text("[[meters]]\nname = 'x'\n")
    assert command(unreachable, "--check-config", "--config", str(path), check=True) == EXIT_OK
    assert capsys.readouterr().out == "sample: the configuration is valid\n"


def test_without_it_the_service_runs_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_SAMPLE_ROWS", "5")
    assert command(ends) == EXIT_OK


def test_a_file_that_is_named_must_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(unreachable, "--config", "absent.toml") == EXIT_USAGE
    assert "absent.toml cannot be read" in capsys.readouterr().err


def test_the_file_is_the_argument_then_the_variable_then_the_folders_own(own_folder: Path) -> None:
    for rows, name in enumerate(("argument.toml", "variable.toml", "taximeter.toml")):
        (own_folder / name).write_text(f"[sample]\nrows = {rows}\n")
    environ = {"TAXIMETER_CONFIG": "variable.toml"}
    sections = {"sample": Sample}
    assert load_configuration(sections, environ=environ, file=Path("argument.toml")).of(Sample).rows == 0
    assert load_configuration(sections, environ=environ).of(Sample).rows == 1
    assert load_configuration(sections, environ={}).of(Sample).rows == 2


def test_settings_are_found_by_their_class() -> None:
    configuration = load_configuration({"sample": Sample}, environ={})
    assert configuration.of(Sample) == Sample()
    with pytest.raises(KeyError):
        configuration.of(ServiceSettings)


def test_a_bad_file_is_reported_as_settings_error(own_folder: Path) -> None:
    (own_folder / "taximeter.toml").write_text("[")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_configuration({"sample": Sample}, environ={})
