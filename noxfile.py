"""Every check of the repository. `nox` runs what CI runs; `nox -l` lists the sessions.

Sessions build their environments with uv, at the exact versions of `[tool.uv]
constraint-dependencies`, so a session today equals the same session next year.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.12", "3.13"]
PACKAGES = ["schemas", "etl", "signals", "strategies", "runner"]  # bottom layer first
BELOW = {
    "schemas": [],
    "etl": ["schemas"],
    "signals": ["schemas"],
    "strategies": ["schemas", "signals"],
    "runner": ["schemas", "etl", "signals", "strategies"],
}

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "alone", "integration", "object_store", "docs"]

# `uv run nox` puts uv beside the interpreter or on PATH; README's command keeps it in .uv/bin.
os.environ["PATH"] = os.pathsep.join([str(ROOT / ".uv" / "bin"), os.environ["PATH"]])


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def constraints(session: nox.Session) -> str:
    """The pinned versions, as a file that uv pip reads."""
    path = Path(session.create_tmp()) / "constraints.txt"
    path.write_text("\n".join(pyproject()["tool"]["uv"]["constraint-dependencies"]) + "\n", "utf-8")
    return str(path)


def group(name: str) -> list[str]:
    """Requirements of a dependency group of the root project."""
    return [r for r in pyproject()["dependency-groups"][name] if isinstance(r, str)]


def install(session: nox.Session, packages: list[str], *requirements: str) -> None:
    editable = [arg for p in packages for arg in ("-e", f"packages/phoenix-{p}")]
    session.install("-c", constraints(session), *editable, *requirements)


@nox.session(python=PYTHONS[0])
def lint(session: nox.Session) -> None:
    """Format, lint, layers."""
    install(session, PACKAGES, *group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session(python=PYTHONS[0])
def types(session: nox.Session) -> None:
    """mypy, strict, over all five packages."""
    install(session, PACKAGES, *group("lint"), *group("test"))
    session.run("mypy", *[f"packages/phoenix-{p}/src" for p in PACKAGES])


@nox.session(python=PYTHONS)
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """Unit, property and doc tests of one package, with nothing above it installed."""
    install(session, [*BELOW[package], package], *group("test"))
    here = f"packages/phoenix-{package}"
    session.run("pytest", "-n", "2", f"{here}/src", f"{here}/tests", *session.posargs)


@nox.session(python=PYTHONS)
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def alone(session: nox.Session, package: str) -> None:
    """Build the wheel, install it alone in a fresh environment, and do one job with it."""
    session.install("-c", constraints(session), "pytest", "packaging")
    session.run(
        "pytest", "-p", "no:cacheprovider", "tests-integration/test_alone.py", "-k", f"[{package}]",
        env={"PHOENIX_CONSTRAINTS": str(Path(constraints(session)).resolve())},
    )  # fmt: skip


@nox.session(python=PYTHONS)
def integration(session: nox.Session) -> None:
    """Cross-package tests: contracts, end to end, real data, crash and resume."""
    install(session, PACKAGES, *group("test"), *group("lint"))
    session.run(
        "pytest", "-n", "2", "tests-integration", "--ignore=tests-integration/test_alone.py",
        *session.posargs,
    )  # fmt: skip


@nox.session(python=PYTHONS[0])
def object_store(session: nox.Session) -> None:
    """A catalog on a local S3-compatible server, started for the test from its own environment."""
    install(session, PACKAGES, *group("test"))
    server = Path(session.create_tmp()).resolve() / "s3-server"
    session.run("uv", "venv", "--quiet", "--clear", str(server), external=True)
    session.run(
        "uv", "pip", "install", "--quiet", "--no-config", "--python", str(server / "bin" / "python"),
        "-r", str(ROOT / "tests-integration" / "s3-server.txt"), external=True,
    )  # fmt: skip
    session.run(
        "pytest", "tests-integration/test_object_store.py", *session.posargs,
        env={"PHOENIX_S3_SERVER": str(server / "bin" / "moto_server")},
    )  # fmt: skip


@nox.session(python=PYTHONS[0])
def docs(session: nox.Session) -> None:
    """Run the code of README, docs and package READMEs; check every relative link."""
    install(session, PACKAGES, *group("test"))
    session.run("pytest", "docs", *session.posargs)


@nox.session(python=PYTHONS[0])
def bench(session: nox.Session) -> None:
    """Measure, as ratios within one run. Not part of CI: a busy machine must not fail a build."""
    install(session, PACKAGES, *group("test"))
    for package in PACKAGES:
        for script in sorted(
            (ROOT / "packages" / f"phoenix-{package}" / "benchmarks").glob("bench_*.py")
        ):
            session.run("python", str(script.relative_to(ROOT)), *session.posargs)


@nox.session(python=PYTHONS[0])
def acceptance(session: nox.Session) -> None:
    """EMA cross against Phoenix and Phoenix LPI, walked forward over a simulated month (half an hour)."""
    install(session, PACKAGES)
    folder = Path("data/acceptance")
    if not (folder / "raw").exists():
        session.run(
            "phoenix-etl", "synth", "--profile", "month", "--out", str(folder / "raw"),
            "--start", "2024-01-01", "--days", "32",
        )  # fmt: skip
    session.run(
        "phoenix-etl", "ingest", "--config", "configs/etl.yaml",
        "--raw-root", str(folder / "raw"), "--catalog", str(folder / "catalog"),
    )  # fmt: skip
    names = ("ema_cross_month", "phoenix_month", "phoenix_lpi_month")
    contest(session, names, folder / "month.html")


@nox.session(python=PYTHONS[0])
def acceptance_bars(session: nox.Session) -> None:
    """EMA cross at its defaults and chosen by walk-forward, over real AVAXUSDT bars of February 2024."""
    real = os.environ.get("PHOENIX_REAL_DATA")
    if real is None:
        session.skip("PHOENIX_REAL_DATA is not set: no real market data")
    install(session, PACKAGES)
    folder = Path("data/acceptance")
    session.run(
        "phoenix-etl", "ingest", "--config", "configs/etl.yaml", "--raw-root", f"{real}/raw",
        "--catalog", str(folder / "real"), "--symbols", "AVAXUSDT", "--datasets", "klines",
        "--start", "2024-02-01", "--end", "2024-03-01",
    )  # fmt: skip
    names = ("ema_cross_default_avaxusdt_2024_02", "ema_cross_chosen_avaxusdt_2024_02")
    contest(session, names, folder / "bars.html")


def contest(session: nox.Session, suites: tuple[str, ...], page: Path) -> None:
    """Run suites of configs/acceptance and set them side by side, the first one being the baseline."""
    paths = [f"configs/acceptance/{name}.yaml" for name in suites]
    session.run("phoenix", "contest", *paths, "--out", str(page), *session.posargs)


@nox.session(python=PYTHONS[0])
def studies(session: nox.Session) -> None:
    """What takes minutes or prints a table: ten million updates; do the indices find cascades."""
    install(session, PACKAGES, *group("test"))
    signals = "packages/phoenix-signals/tests"
    session.run("pytest", "-n", "2", signals, "-k", "long_run", env={"PHOENIX_LONG_RUNS": "1"})
    session.run("pytest", "-s", "-p", "no:randomly", "tests-integration/test_detection_study.py")
    session.run(
        "pytest", "-s", "-p", "no:randomly", "tests-integration/test_twap_study.py",
        env={"PHOENIX_STUDY_SEEDS": "400"},
    )  # fmt: skip


@nox.session(python=PYTHONS[0])
def crash(session: nox.Session) -> None:
    """Ingestion under every fault at every file operation, 90 stops of a real run, hostile files."""
    install(session, ["schemas", "etl"], *group("test"))
    env = {"PHOENIX_EVERY_FAULT": "1", "PHOENIX_STOPS": "90", "PHOENIX_HOSTILE_RUNS": "100"}
    for name in ("fault_injection", "kill", "hostile_input"):
        session.run(
            "pytest", "-s", "-p", "no:randomly", f"packages/phoenix-etl/tests/test_{name}.py",
            *session.posargs, env=env,
        )  # fmt: skip


@nox.session(python=PYTHONS[0])
def golden(session: nox.Session) -> None:
    """Write the golden files of new signal versions, on purpose; `-- --rewrite ID` replaces one."""
    install(session, ["schemas", "signals"], *group("test"))
    session.run("python", "packages/phoenix-signals/tests/regenerate_golden.py", *session.posargs)


@nox.session(python=PYTHONS[0])
def pinning(session: nox.Session) -> None:
    """Two versions of phoenix-signals in two environments: what one script says differently."""
    install(session, ["schemas", "etl", "signals"])
    script = "packages/phoenix-signals/examples/pinning.py"
    session.run("python", script, "--constraints", constraints(session))


@nox.session(venv_backend="none")
def pins(session: nox.Session) -> None:
    """Resolve anew and rewrite the exact versions in the root pyproject (NautilusTrader stays)."""
    path = ROOT / "pyproject.toml"
    block = re.compile(r"constraint-dependencies = \[.*?\]", re.DOTALL)
    kept = 'constraint-dependencies = ["nautilus-trader==2.0.0rc6"]'
    path.write_text(block.sub(kept, path.read_text("utf-8")), "utf-8")
    session.run("uv", "lock", "--upgrade", external=True)
    locked = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    workspace = {f"phoenix-{p}" for p in [*PACKAGES, "workspace"]}
    # Backports that uv locks for an interpreter or platform we do not support would be noise, but
    # dropping them would break the resolution elsewhere; every name is kept once.
    pinned = sorted({f"{p['name']}=={p['version']}" for p in locked if p["name"] not in workspace})
    lines = "".join(f'    "{pin}",\n' for pin in pinned)
    path.write_text(
        block.sub(f"constraint-dependencies = [\n{lines}]", path.read_text("utf-8")), "utf-8"
    )
    session.log(f"{len(pinned)} versions pinned with {sys.version.split()[0]}")
