"""The report in a real browser, at laptop and phone width."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
MARGIN = {1366: 24, 390: 12}
"""Pixels at the right that the page leaves free; text or charts there do not fit their width."""


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium on this machine: the look of the report is not tested")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from importlib.util import module_from_spec, spec_from_file_location

    from phoenix_runner.report import write_report

    # The runner's own simulated bundle; its tests hold what the page says, this one how it looks.
    spec = spec_from_file_location(
        "runner_conftest", ROOT / "packages/phoenix-runner/tests/conftest.py"
    )
    assert spec is not None
    assert spec.loader is not None
    simulated = module_from_spec(spec)
    spec.loader.exec_module(simulated)
    folder = simulated.write_walk_forward(
        tmp_path_factory.mktemp("wf"), folds=3, train_days=6, test_days=2
    )
    return write_report(folder)


@pytest.mark.parametrize("width", [1366, 390])
def test_the_page_fits_its_width(browser: str, report: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},3000",
         f"--screenshot={picture}", report.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=np.int64)
    assert pixels.shape == (3000, width, 3)
    ground = pixels[0, 0]
    differs = np.abs(pixels - ground).sum(axis=2) > 24
    assert differs.mean() > 0.02, "the page is empty"
    assert not differs[:, -MARGIN[width] :].any(), "something sticks out at the right"
    assert not differs[:, : MARGIN[width]].any(), "something sticks out at the left"
    # Charts: the blue of the curves is on the page, so a drawing for this width was shown.
    blue = np.abs(pixels - np.array([0x00, 0x72, 0xB2])).sum(axis=2) < 30
    assert blue.sum() > 300
