"""From a bundle folder to its `report.html`."""

from __future__ import annotations

from pathlib import Path

from phoenix_runner.report.bundle_files import read_bundle
from phoenix_runner.report.page import render
from phoenix_runner.report.single_run import single_run_page


def write_report(bundle_dir: Path) -> Path:
    """Write `report.html` for the run in `bundle_dir` and return its path.

    The file opens offline in any browser and depends on nothing but the bundle. Raises ReportError
    when a file of the bundle is missing or unusable; nothing is written then.
    """
    html = render(single_run_page(read_bundle(bundle_dir)))
    path = bundle_dir / "report.html"
    path.write_text(html, encoding="utf-8", newline="\n")
    return path
