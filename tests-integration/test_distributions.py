"""The five distributions as metadata: ranges, layers, pins, versions."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LAYERS = {"schemas": 0, "etl": 1, "signals": 1, "strategies": 2, "runner": 3}


def project(package: str) -> dict:
    path = ROOT / "packages" / f"phoenix-{package}" / "pyproject.toml"
    return tomllib.loads(path.read_text("utf-8"))["project"]


@pytest.mark.parametrize("package", LAYERS)
def test_siblings_are_required_downward_by_range(package: str) -> None:
    for text in project(package)["dependencies"]:
        requirement = Requirement(text)
        if not requirement.name.startswith("phoenix-"):
            continue
        sibling = requirement.name.removeprefix("phoenix-")
        assert LAYERS[sibling] < LAYERS[package], f"{package} must not require {sibling}"
        operators = {s.operator for s in requirement.specifier}
        assert operators == {">=", "<"}, f"{text}: a floor and a cap, never =="
        assert Version(project(sibling)["version"]) in requirement.specifier


@pytest.mark.parametrize("package", LAYERS)
def test_version_is_static_and_in_the_changelog(package: str) -> None:
    version = project(package)["version"]
    changelog = (ROOT / "packages" / f"phoenix-{package}" / "CHANGELOG.md").read_text("utf-8")
    assert f"## {version}" in changelog
    assert metadata.version(f"phoenix-{package}") == version


def test_every_installed_distribution_is_pinned() -> None:
    root = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    pins = {}
    for text in root["tool"]["uv"]["constraint-dependencies"]:
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{text}: an exact version"
        pins[requirement.name.lower()] = specifier.version
    assert pins["nautilus-trader"] == "2.0.0rc6"
    wrong = []
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        # pip and setuptools come with an interpreter or an environment, not from our requirements.
        if name.startswith("phoenix-") or name in {"pip", "setuptools", "wheel"}:
            continue
        if pins.get(name) != distribution.version:
            wrong.append(f"{name} {distribution.version} (pinned: {pins.get(name)})")
    assert not wrong, f"run `nox -s pins`: {wrong}"


def test_every_package_has_what_a_user_looks_for() -> None:
    for package in LAYERS:
        folder = ROOT / "packages" / f"phoenix-{package}"
        readme = (folder / "README.md").read_text("utf-8")
        assert len(readme) > 400, f"{folder.name}: README says too little"
        assert (folder / "src" / f"phoenix_{package}" / "py.typed").exists()
