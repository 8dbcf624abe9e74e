"""Write the golden files of signals that have none yet, on purpose: `nox -s golden`.

A golden file holds inputs and outputs of one (id, version). It is written once. When the numbers of
a signal change, its VERSION must rise, which asks for a new file; `--rewrite ID` replaces one, for a
version that no release contains. Engines share the inputs of `market.json`. Also notes in
`releases.json` with which package version a signal version first appears. Files of versions that are
no longer installed are removed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from importlib.metadata import version as package_version
from pathlib import Path

import market as markets
import numpy as np
from phoenix_signals import batch, conformance, registry

HERE = Path(__file__).parent / "golden"
MARKET = HERE / "market.json"
RELEASES = Path(__file__).parents[1] / "src" / "phoenix_signals" / "releases.json"
ROWS = 90
SEED = 20_240_101


def golden_path(entry) -> Path:
    return HERE / f"{entry.id}-v{entry.version}.json"


def is_engine(entry) -> bool:
    return not issubclass(entry.signal, conformance.CHECKED)


def compute(entry) -> list[dict]:
    """Inputs and outputs of every example, as plain numbers; None for NaN."""
    cases = []
    for parameters in entry.signal.EXAMPLES:
        inputs = {}
        if not is_engine(entry):
            inputs = conformance.random_inputs(entry.signal(**parameters), ROWS, SEED)
        output = run(entry, parameters, inputs)
        plain = {name: [_plain(v) for v in column.tolist()] for name, column in output.items()}
        cases.append({"parameters": repr(dict(parameters)), "inputs": inputs, "output": plain})
    return cases


def run(entry, parameters, inputs) -> conformance.Output:
    """What a signal says to the inputs of a case; an engine is fed the market."""
    signal = entry.signal(**parameters)
    if not is_engine(entry):
        return conformance.run(signal, inputs)
    records = markets.replay(signal, read_market())
    columns = {}
    for name in records[0].__struct_fields__:
        values = [getattr(record, name) for record in records]
        is_number = any(isinstance(v, float) for v in values)
        if is_number:
            values = [np.nan if v is None else v for v in values]
        columns[name] = np.array(values, dtype=np.float64 if is_number else object)
    return columns


def write_market() -> None:
    made = markets.random_market(SEED, seconds=45.0, events=600, metrics_every_s=2.0)
    columns = {
        part.name: {n: c.tolist() for n, c in getattr(made, part.name).arrays().items()}
        for part in dataclasses.fields(made)
    }
    MARKET.write_text(json.dumps(columns, indent=0) + "\n", "utf-8")


def read_market() -> markets.Market:
    columns = json.loads(MARKET.read_text("utf-8"))
    parts = {
        name: getattr(batch, name.capitalize())(**{n: np.array(c) for n, c in part.items()})
        for name, part in columns.items()
    }
    return markets.Market(**parts)


def _plain(value):
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if value != value else value  # NaN


def dumps(cases: list[dict]) -> str:
    """One column per line, so that a change of numbers is readable in a diff."""
    lines = ["["]
    for i, case in enumerate(cases):
        lines.append(f' {{"parameters": {json.dumps(case["parameters"])},')
        for part in ("inputs", "output"):
            columns = [f"   {json.dumps(n)}: {json.dumps(v)}" for n, v in case[part].items()]
            lines.append(
                f'  "{part}": {{\n' + ",\n".join(columns) + "\n  }" + ("," * (part == "inputs"))
            )
        lines.append(" }" + "," * (i < len(cases) - 1))
    return "\n".join([*lines, "]", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rewrite", metavar="ID", action="append", default=[])
    rewrite = set(parser.parse_args().rewrite)
    releases = json.loads(RELEASES.read_text("utf-8"))
    package = package_version("phoenix-signals")
    HERE.mkdir(exist_ok=True)
    for entry in registry.installed():
        releases.setdefault(entry.id, {}).setdefault(str(entry.version), package)
    if not MARKET.exists():
        write_market()
    kept = {MARKET}
    for entry in registry.installed():
        path = golden_path(entry)
        kept.add(path)
        if not path.exists() or entry.id in rewrite:
            path.write_text(dumps(compute(entry)), "utf-8")
            print(f"wrote {path.name}")
    for path in set(HERE.glob("*.json")) - kept:
        path.unlink()
        print(f"removed {path.name}")
    text = json.dumps(releases, indent=1, sort_keys=True)
    RELEASES.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
