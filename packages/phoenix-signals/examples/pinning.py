"""Two versions of phoenix-signals, one script, one catalog: what changed, by signal id.

    nox -s pinning

Builds the wheel of this checkout and one of a copy in which `spread_bps` was deliberately changed
(version 2: relative to the ask) and the package raised to 0.2.0. Installs each in an environment of
its own, runs `features.py` in both on the same synthetic catalog and prints the difference by signal
id. Then asks the newer installation for the old version, and prints what it answers.
"""

# ruff: noqa: T201  # a script that prints
from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).parent
PACKAGE = HERE.parent
SCHEMAS = PACKAGE.parent / "phoenix-schemas"
CHANGES = [  # file, old text, new text
    ("pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"'),
    (
        "src/phoenix_signals/batch/liquidity.py",
        "return BPS * ((a - b) / ((a + b) * 0.5))",
        "return BPS * ((a - b) / a)",
    ),
    (
        "src/phoenix_signals/liquidity.py",
        "self.value = BPS * ((ask - bid) / ((ask + bid) * 0.5))",
        "self.value = BPS * ((ask - bid) / ask)",
    ),
    (
        "src/phoenix_signals/liquidity.py",
        'ID = "spread_bps"\n    VERSION = 1',
        'ID = "spread_bps"\n    VERSION = 2',
    ),
]


def run(*command: object) -> str:
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def changed_copy(folder: Path) -> Path:
    """The package with one signal raised to version 2, as its author would release it."""
    copy = folder / "changed"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    for name, old, new in CHANGES:
        path = copy / name
        text = path.read_text("utf-8")
        if text.count(old) != 1:
            raise SystemExit(f"{name} must contain {old!r} once; update CHANGES in pinning.py")
        path.write_text(text.replace(old, new), "utf-8")
    releases = copy / "src" / "phoenix_signals" / "releases.json"
    known = json.loads(releases.read_text("utf-8"))
    known["spread_bps"]["2"] = "0.2.0"
    releases.write_text(json.dumps(known), "utf-8")
    return copy


def environment(folder: Path, name: str, source: Path, constraints: str) -> Path:
    """A fresh environment with the wheel of `source` and nothing of this checkout."""
    wheels = folder / f"wheels-{name}"
    for package in (SCHEMAS, source):
        run("uv", "build", "--quiet", "--wheel", "--out-dir", wheels, package)
    venv = folder / f"env-{name}"
    run("uv", "venv", "--quiet", "--python", sys.executable, venv)
    python = venv / "bin" / "python"
    run(
        "uv", "pip", "install", "--quiet", "--python", python, "--find-links", wheels,
        "--constraint", constraints, *wheels.glob("*.whl"),
    )  # fmt: skip
    return python


def differences(before: Path, after: Path) -> list[str]:
    """One line per signal id: versions, share of values that differ, largest relative difference."""
    tables = [pq.read_table(path) for path in (before, after)]
    versions = [json.loads(t.schema.metadata[b"signal_versions"]) for t in tables]
    lines = []
    for signal_id in tables[0].column_names:
        a, b = (t[signal_id].to_numpy() for t in tables)
        known = ~(np.isnan(a) & np.isnan(b))
        a, b = a[known], b[known]
        share = np.count_nonzero(a != b) / max(len(a), 1)
        largest = np.abs(a - b).max(initial=0.0) / max(np.abs(a).max(initial=0.0), 1e-300)
        lines.append(
            f"{signal_id:<14} version {versions[0][signal_id]} -> {versions[1][signal_id]}"
            f"   {share:7.2%} of {len(a):,} values differ, by at most {largest:.2e}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", required=True, help="file of pinned versions")
    constraints = parser.parse_args().constraints
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw, catalog = folder / "raw", folder / "catalog"
        etl = Path(sys.executable).with_name("phoenix-etl")
        run(etl, "synth", "--out", raw, "--profile", "small", "--seed", 7, "--quiet")
        run(etl, "ingest", "--raw-root", raw, "--catalog", catalog, "--quiet")
        sources = {"0.1.0": PACKAGE, "0.2.0": changed_copy(folder)}
        pythons = {v: environment(folder, v, s, constraints) for v, s in sources.items()}
        outs = {version: folder / f"features-{version}.parquet" for version in sources}
        for version, python in pythons.items():
            run(python, HERE / "features.py", catalog, outs[version])
        print("phoenix-signals 0.1.0 -> 0.2.0, same script, same catalog:")
        print(*differences(*outs.values()), sep="\n")
        pinned = [HERE / "features.py", catalog, outs["0.1.0"], "--pin", "spread_bps=1"]
        run(pythons["0.1.0"], *pinned)
        refused = subprocess.run(
            [str(c) for c in (pythons["0.2.0"], *pinned)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if refused.returncode == 0:
            raise SystemExit("a pin that is not installed must be refused")
        print("\n--pin spread_bps=1 runs with 0.1.0; with 0.2.0 it answers:")
        print(refused.stderr.strip())


if __name__ == "__main__":
    main()
