"""One self-contained HTML file: the verdict, then the evidence, then the caveats.

[write_report][] reads the bundle of a run or a walk-forward and writes `report.html` into it,
[write_comparison][] sets several side by side, [write_study][] shows a research command's figures.
The same bundles give the same bytes. What a bundle must hold stands in `bundle_files`.
"""

from __future__ import annotations

from phoenix_runner.report.studies import write_study
from phoenix_runner.report.writing import write_comparison, write_report

__all__ = ["write_comparison", "write_report", "write_study"]
