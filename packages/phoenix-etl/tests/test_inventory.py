"""What a raw root holds: every layout, and every file that is not guessed at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from phoenix_etl.errors import NothingFoundError, UsageError
from phoenix_etl.inventory import Inventory, take_inventory

ROW = "1,42000.1,0.5,1,2,1704067200123,true\n"
GOOD = "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv"


def reasons(inventory: Inventory) -> dict[str, str]:
    return {odd.path: odd.reason for odd in inventory.unrecognised}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("futures/daily/aggTrades/notes.txt", "not a dump file's name"),
        ("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.parquet", "not a dump file's name"),
        ("futures/daily/aggTrades/BTCUSDT-trades-2024-01-02.csv",
         "its folder says aggTrades (files named aggTrades), its name trades"),
        ("futures/daily/klines/BTCUSDT-5m-2024-01-01.csv",
         "its folder says klines (files named 1m), its name 5m"),
        ("futures/monthly/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv",
         "its folder says monthly, its name has the date 2024-01-01"),
        ("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-13-01.csv", "is not in the calendar"),
        ("futures/daily/liquidationSnapshot/BTCUSDT-liquidationSnapshot-2024-01-01.csv",
         "no folder above it names a dataset of futures"),
        ("aggTrades/BTCUSDT-aggTrades-2024-01-01.csv",
         "no folder above it names the market (futures or spot_data)"),
        ("futures/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv",
         "no folder above it names the period (daily or monthly)"),
        ("data/futures/cm/daily/aggTrades/BTCUSD_PERP-aggTrades-2024-01-01.csv",
         "only USD-M futures and spot are read"),
        ("data/futures/um/daily/aggTrades/ETHUSDT/BTCUSDT-aggTrades-2024-01-01.csv",
         "its folder says ETHUSDT, its name BTCUSDT"),
        ("data/futures/um/daily/klines/BTCUSDT/5m/BTCUSDT-1m-2024-01-01.csv",
         "its folder says 5m, its name 1m"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_listed_with_the_reason(dumps, path: str, reason: str) -> None:
    dumps.put(GOOD, ROW)
    dumps.put(path, ROW)
    inventory = take_inventory([dumps.root])
    assert [f.path for f in inventory.files] == [GOOD]
    assert reason in reasons(inventory)[path]


def test_companions_and_hidden_files_are_not_dump_files(dumps) -> None:
    dumps.put(GOOD, ROW)
    dumps.put(f"{GOOD}.CHECKSUM", "x")
    dumps.put("futures/daily/aggTrades/.BTCUSDT-aggTrades-2024-01-02.csv.part", "x")
    assert take_inventory([dumps.root]).unrecognised == ()


def test_of_csv_and_zip_the_csv_is_read(dumps) -> None:
    dumps.put(GOOD, ROW)
    packed = dumps.put(GOOD.replace(".csv", ".zip"), ROW)
    inventory = take_inventory([dumps.root])
    assert [f.path for f in inventory.files] == [GOOD]
    assert reasons(inventory) == {packed: f"the same archive file is read from {GOOD}"}


def test_a_second_root_adds_and_says_what_it_has_twice(dumps, tmp_path: Path) -> None:
    dumps.put(GOOD, ROW)
    other = tmp_path / "other"
    (other / GOOD).parent.mkdir(parents=True)
    (other / GOOD).write_text(ROW)
    (other / GOOD.replace("01-01", "01-02")).write_text(ROW)
    inventory = take_inventory([dumps.root, other])
    assert [f.date_key for f in inventory.files] == ["2024-01-01", "2024-01-02"]
    assert reasons(inventory) == {GOOD: f"the same archive file is read from {dumps.root / GOOD}"}
    assert take_inventory([dumps.root, dumps.root]).unrecognised == ()


def test_links_are_not_followed_out_of_the_root(dumps, tmp_path: Path) -> None:
    dumps.put(GOOD, ROW)
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / "BTCUSDT-aggTrades-2024-01-02.csv"
    secret.write_text(ROW)
    folder = dumps.root / "futures/daily/aggTrades"
    (folder / secret.name).symlink_to(secret)
    (folder / "BTCUSDT-aggTrades-2024-01-03.csv").symlink_to(folder / "nowhere")
    (folder / "BTCUSDT-aggTrades-2024-01-04.csv").symlink_to(Path(GOOD).name)
    (folder / "BTCUSDT-aggTrades-2024-01-05.csv").symlink_to("BTCUSDT-aggTrades-2024-01-05.csv")
    os.mkfifo(folder / "BTCUSDT-aggTrades-2024-01-06.csv")
    (dumps.root / "futures/daily/trades").symlink_to(outside)
    inventory = take_inventory([dumps.root])
    assert [f.date_key for f in inventory.files] == ["2024-01-01", "2024-01-04"]
    said = {path.rpartition("-")[2]: reason for path, reason in reasons(inventory).items()}
    assert "leads out of the raw root" in said["02.csv"]
    assert "cannot be opened" in said["03.csv"]
    assert "cannot be opened" in said["05.csv"]
    assert said["06.csv"] == "not a regular file"
    assert "a link to a folder is not followed" in reasons(inventory)["futures/daily/trades"]


def test_names_that_are_not_text_are_listed_and_printable(dumps) -> None:
    dumps.put(GOOD, ROW)
    odd = os.fsencode(dumps.root) + b"/futures/daily/aggTrades/\xff\xfe.csv"
    Path(os.fsdecode(odd)).write_text(ROW)
    folder = Path(os.fsdecode(os.fsencode(dumps.root) + b"/\xff/futures/daily/aggTrades"))
    folder.mkdir(parents=True)
    (folder / "BTCUSDT-aggTrades-2024-01-09.csv").write_text(ROW)
    inventory = take_inventory([dumps.root])
    assert [f.path for f in inventory.files] == [GOOD]
    for path in reasons(inventory):
        path.encode()
    assert "its path is not UTF-8" in reasons(inventory).values()


def test_wrong_roots_are_refused(dumps, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="raw root must be an existing folder"):
        take_inventory([tmp_path / "nowhere"])
    dumps.put("file", "x")
    with pytest.raises(UsageError, match="raw root must be a folder"):
        take_inventory([dumps.root / "file"])
    with pytest.raises(
        NothingFoundError,
        match=r"no dump file under .*; 1 file\(s\) there are none, the first: file: ",
    ):
        take_inventory([dumps.root])


def test_strangers_are_noted_by_an_ingest(dumps, catalog) -> None:
    dumps.put(GOOD, ROW)
    odd = dumps.put("futures/daily/aggTrades/BTCUSDT-bookTicker-2024-01-01.csv", "x")
    manifest = catalog.ingest().manifest
    assert "its folder says aggTrades" in manifest.unrecognised[odd]
    assert f"- not read: {odd}: its folder says aggTrades" in catalog.report()
