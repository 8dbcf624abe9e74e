"""The report in a real browser, at laptop and phone width."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
MARGIN = {1440: 24, 390: 12}
"""Pixels at the right that the page leaves free; text or charts there do not fit their width."""


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine: the look of the report is not tested")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    from importlib.util import module_from_spec, spec_from_file_location

    from phoenix_runner.report.studies import Surface, sensitivity_section, write_study
    from phoenix_runner.report.writing import write_comparison, write_report

    # The runner's own simulated bundles; its tests hold what the page says, this one how it looks.
    spec = spec_from_file_location(
        "runner_conftest", ROOT / "packages/phoenix-runner/tests/conftest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    simulated = module_from_spec(spec)
    spec.loader.exec_module(simulated)
    folder = tmp_path_factory.mktemp("pages")
    week = simulated.write_bundle(folder / "week", days=7, gaps=((3000, 4500),))
    day = simulated.write_bundle(folder / "day", days=1, gaps=(), refusals={"spread": 3})
    other = simulated.write_bundle(folder / "other", days=7, gaps=(), seed=3)
    walk = simulated.write_walk_forward(folder / "wf", folds=3, train_days=6, test_days=2)
    surface = Surface(
        "fast_bars", "slow_bars", [5, 10], [20, 60], np.array([[1.0, -2.0], [3.0, 4.0]]),
        "net result", "USDT",
    )  # fmt: skip
    study = write_study(
        folder / "study.html", title="Sensitivity", subtitle="", headline="Three of four gain",
        sentences=[], sections=[sensitivity_section(surface)],
    )  # fmt: skip
    return {
        "run": write_report(week),
        "run of a day": write_report(day),
        "walk-forward": write_report(walk),
        "comparison": write_comparison({"a": week, "b": other}, folder / "comparison.html"),
        "study": study,
    }


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("kind", ["run", "run of a day", "walk-forward", "comparison", "study"])
def test_the_page_fits_its_width(
    browser: str, pages: dict[str, Path], tmp_path: Path, kind: str, width: int
) -> None:
    picture = tmp_path / "page.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},3000",
         f"--screenshot={picture}", pages[kind].as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=np.int16)
    assert pixels.shape == (3000, width, 3)
    ground = pixels[0, 0]
    differs = np.abs(pixels - ground).sum(axis=2) > 24
    assert differs.mean() > 0.02, "the page is empty"
    assert not differs[:, -MARGIN[width] :].any(), "something sticks out at the right"
    assert not differs[:, : MARGIN[width]].any(), "something sticks out at the left"
    # Charts: the page is grey but for them, so a drawing for this width was shown.
    colour = pixels.max(axis=2) - pixels.min(axis=2) > 60
    assert colour.sum() > 300
    # One bar for a day is slim, not a wall: no colour but the ground fills a tenth of a page.
    assert kind == "study" or colour.mean() < 0.1
