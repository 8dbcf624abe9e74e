"""The registry: what is installed, and what to do about what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from phoenix_signals import registry
from phoenix_signals.errors import VersionError
from phoenix_signals.rolling import ZScoreMedianMad


def test_an_entry_lists_parameters_and_defaults():
    entry = registry.find("zscore_median_mad")
    assert entry.signal is ZScoreMedianMad
    assert entry.version == ZScoreMedianMad.VERSION
    assert entry.parameters == {
        "window_count": registry.REQUIRED, "min_count": 30, "z_clip": 10.0,
    }  # fmt: skip
    assert entry.summary.startswith("z-score of the current value")


def test_ids_are_unique_and_sorted():
    ids = [entry.id for entry in registry.installed()]
    assert ids == sorted(set(ids))


def test_the_readme_names_every_signal():
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert [e.id for e in registry.installed() if f"`{e.id}`" not in readme] == []


def test_a_pinned_version_that_is_installed_is_found():
    assert registry.find("vpin", 1).id == "vpin"


def test_an_unknown_id_names_what_is_installed():
    with pytest.raises(VersionError, match=r"one of .*bar_lpi.*vpin.* \(was 'vpni'\)"):
        registry.find("vpni")


@pytest.mark.parametrize(
    ("version", "where"),
    [
        (2, r"install phoenix-signals>=0\.9\.0,<0\.10\.0$"),
        (3, r"install phoenix-signals>=0\.10\.0$"),
        (4, r"no release up to this one has version 4, so pin a version of: 1 \(since 0\.1\.0\)"),
    ],
)
def test_a_version_of_another_release_names_that_release(monkeypatch, version, where):
    history = {"vpin": {"1": "0.1.0", "2": "0.9.0", "3": "0.10.0"}}
    monkeypatch.setattr(registry, "releases", lambda: history)
    with pytest.raises(VersionError, match=r"was version 1, with phoenix-signals 0\.1\.0"):
        registry.find("vpin", version)
    with pytest.raises(VersionError, match=where):
        registry.find("vpin", version)
