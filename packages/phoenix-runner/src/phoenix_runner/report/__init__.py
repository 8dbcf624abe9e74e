"""One self-contained HTML file per run: the verdict, then the evidence, then the caveats.

[write_report][] reads a bundle folder and writes `report.html` into it. The same bundle gives the
same bytes. What the bundle must hold stands in `bundle_files`.
"""

from __future__ import annotations

from phoenix_runner.report.writing import write_report

__all__ = ["write_report"]
