"""From bundle folders to HTML files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phoenix_runner.fold_results import FILE as WALK_FORWARD_FILE
from phoenix_runner.report.bundle_files import read_bundle, read_texts, read_walk_forward
from phoenix_runner.report.comparison import comparison_page, read_contender
from phoenix_runner.report.page import Page, render
from phoenix_runner.report.single_run import single_run_page
from phoenix_runner.report.walk_forward import walk_forward_page


def write_report(bundle_dir: Path | str) -> Path:
    """Write `report.html` for the run or walk-forward in `bundle_dir` and return its path.

    The file opens offline in any browser and depends on nothing but the bundle. Raises ReportError
    when a file of the bundle is missing or unusable; nothing is written then.
    """
    bundle_dir = Path(bundle_dir)
    if (bundle_dir / WALK_FORWARD_FILE).exists():
        config_text, environment = read_texts(bundle_dir)
        result, runs = read_walk_forward(bundle_dir)
        page = walk_forward_page(result, runs, config_text=config_text, environment=environment)
    else:
        page = single_run_page(read_bundle(bundle_dir))
    return write_page(page, bundle_dir / "report.html")


def write_comparison(
    runs: Mapping[str, Path | str], path: Path | str, *, title: str = "Comparison"
) -> Path:
    """Write one page that sets finished runs and walk-forwards side by side, by label.

    The first is the baseline of the differences.
    """
    contenders = [read_contender(label, Path(folder)) for label, folder in runs.items()]
    return write_page(comparison_page(title, contenders), Path(path))


def write_page(page: Page, path: Path) -> Path:
    """Write a page as one HTML file."""
    path.write_text(render(page), encoding="utf-8", newline="\n")
    return path
