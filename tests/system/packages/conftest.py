"""Fixtures: the npm package, made once, and projects that have it installed."""

from pathlib import Path

import pytest

from tests.system.packages.project import Project, make_package


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def project(tmp_path: Path, archive: Path) -> Project:
    return Project(tmp_path, archive)
