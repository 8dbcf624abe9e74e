"""Each wheel, built and installed alone: what came along, what must not, and one job done with it.

`nox -s alone` runs this per package and interpreter. Environments are made with uv in a folder of
their own, from the wheels of this checkout and the pinned versions of everything else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "schemas": set(),
    "etl": {"schemas"},
    "signals": {"schemas"},
    "strategies": {"schemas", "signals"},
    "runner": {"schemas", "etl", "signals", "strategies"},
}
PACKAGES = list(ALLOWED)

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys
name = sys.argv[1]
package = importlib.import_module(name)
modules = [m.name for m in pkgutil.walk_packages(package.__path__, name + ".")]
for module in modules:
    if not module.endswith(".__main__"):
        importlib.import_module(module)
print(json.dumps(modules))
"""

JOBS = {
    "schemas": """
from phoenix_schemas.instruments import load_instrument_specs
spec = load_instrument_specs()["BTCUSDT-PERP.BINANCE"]
assert str(spec.to_nautilus().id) == "BTCUSDT-PERP.BINANCE"
""",
    "signals": """
from phoenix_signals import batch, registry
assert len(registry.installed()) > 40, len(registry.installed())
assert batch.vpin([0, 1], [15, 5], [1, -1], bucket_raw=10, window_buckets=2)[-1] == 0.5
""",
    "strategies": """
from phoenix_strategies.ema_cross import EmaCrossPolicy
from phoenix_strategies.registry import find, names
assert len(names()) >= 5, names()
assert find("ema_cross").settings_type().fast_bars == 10
policy = EmaCrossPolicy(fast=1, slow=3)
targets = [policy.target(close) for close in (10.0, 11.0, 12.0, 9.0)]
assert targets[-1] is not None and targets[-1] < 0, targets
""",
}


def run(*args: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(a) for a in args], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    run("uv", "build", "--quiet", "--all-packages", "--wheel", "--out-dir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pins = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]
    path = tmp_path_factory.mktemp("pins") / "constraints.txt"
    path.write_text("\n".join(pins["constraint-dependencies"]), "utf-8")
    return path


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_works_alone(package: str, wheels: Path, constraints: Path, tmp_path: Path) -> None:
    environment = tmp_path / "env"
    run("uv", "venv", "--quiet", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    run(
        "uv", "pip", "install", "--quiet", "--python", python, "--find-links", wheels,
        "--constraint", constraints, f"phoenix-{package}", cwd=tmp_path,
    )  # fmt: skip

    listing = json.loads(run("uv", "pip", "list", "--format", "json", "--python", python))
    ours = {d["name"].removeprefix("phoenix-") for d in listing if d["name"].startswith("phoenix-")}
    assert ours == ALLOWED[package] | {package}

    for other in set(PACKAGES) - ALLOWED[package] - {package}:
        script = f"import importlib.util as u; assert u.find_spec('phoenix_{other}') is None"
        run(python, "-W", "error", "-c", script, cwd=tmp_path)

    modules = json.loads(
        run(python, "-W", "error", "-c", IMPORT_EVERYTHING, f"phoenix_{package}", cwd=tmp_path)
    )
    assert modules, f"phoenix_{package} has no modules"

    if package in JOBS:
        run(python, "-W", "error", "-c", JOBS[package], cwd=tmp_path)
    if package == "etl":
        ingest_alone(environment / "bin" / "phoenix-etl", tmp_path)
    if package == "runner":
        phoenix = environment / "bin" / "phoenix"
        assert "Usage" in run(phoenix, "--help", cwd=tmp_path)
        suite = ROOT / "configs" / "ema_cross.yaml"
        assert "ema_cross" in run(phoenix, "config", "show", suite, cwd=tmp_path)


def ingest_alone(command: Path, folder: Path) -> None:
    """Ingest, verify and validate with nothing but phoenix-etl: real data where they are."""
    assert "Usage" in run(command, "--help", cwd=folder)
    real = os.environ.get("PHOENIX_REAL_DATA")
    options: list[str] = []
    if real:
        raw = Path(real) / "raw"
        options = ["--datasets", "bookTicker,trades,fundingRate,metrics"]
    else:
        raw = folder / "raw"
        run(command, "synth", "--out", raw, "--profile", "small", "--quiet", cwd=folder)
    catalog = folder / "catalog"
    said = run(
        command, "ingest", "--raw-root", raw, "--catalog", catalog, "--json", *options, cwd=folder
    )
    ingested = json.loads(said)
    assert ingested["rows_read"] > 100_000
    assert not ingested["failed"]
    verified = json.loads(
        run(command, "verify", "--catalog", catalog, "--raw-root", raw, "--json", cwd=folder)
    )
    assert verified["problems"] == []
    assert verified["source_rows"] == ingested["rows_read"]
    assert json.loads(run(command, "validate", "--catalog", catalog, "--json", cwd=folder))
