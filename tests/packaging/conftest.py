"""Wheels, built once for all tests here."""

from pathlib import Path

import pytest

from tests.support.distributions import EMITTER, Environment, build_wheels


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a wheel of each distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    build_wheels(folder)
    return folder


@pytest.fixture(scope="session")
def emitter_alone(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that has the emitter, without extras."""
    environment = Environment(tmp_path_factory.mktemp("emitter") / "environment", wheels)
    environment.install(EMITTER.name)
    return environment
