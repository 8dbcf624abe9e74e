"""One self-contained HTML file: the verdict, then the evidence, then the caveats.

`writing.write_report` reads the bundle of a run or a walk-forward and writes `report.html` into it,
`writing.write_comparison` sets several side by side, `studies.write_study` shows a research command's
figures. The same bundles give the same bytes. What a bundle must hold stands in `bundle_files`.

Drawing takes longer to import than all the rest; whoever draws imports it when there is something to
draw, so that workers and commands that only print never do.
"""
