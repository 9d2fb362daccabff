"""Fixtures: the npm package, made once, and projects that have it installed."""

from pathlib import Path

import pytest

from tests.system.packages.project import Project, install, make_package


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Path:
    return install(archive, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def project(tmp_path: Path, installed: Path) -> Project:
    return Project(tmp_path, installed)
