"""From a bundle folder to its `report.html`."""

from __future__ import annotations

from pathlib import Path

from phoenix_runner.fold_results import FILE as WALK_FORWARD_FILE
from phoenix_runner.report.bundle_files import read_bundle
from phoenix_runner.report.page import render
from phoenix_runner.report.single_run import single_run_page
from phoenix_runner.report.walk_forward import read_walk_forward, walk_forward_page


def write_report(bundle_dir: Path) -> Path:
    """Write `report.html` for the run or walk-forward in `bundle_dir` and return its path.

    The file opens offline in any browser and depends on nothing but the bundle. Raises ReportError
    when a file of the bundle is missing or unusable; nothing is written then.
    """
    if (bundle_dir / WALK_FORWARD_FILE).exists():
        page = walk_forward_page(*read_walk_forward(bundle_dir))
    else:
        page = single_run_page(read_bundle(bundle_dir))
    html = render(page)
    path = bundle_dir / "report.html"
    path.write_text(html, encoding="utf-8", newline="\n")
    return path
