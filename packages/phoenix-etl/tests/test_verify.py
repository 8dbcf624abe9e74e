"""`verify` finds what is wrong with a catalog, each kind with its own message."""

from __future__ import annotations

import csv
import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from phoenix_etl import manifest as manifests
from phoenix_etl import reader_proof
from phoenix_etl.errors import NothingFoundError, UsageError
from phoenix_etl.scheduler import Silent
from phoenix_etl.table_difference import difference, without_duplicates
from phoenix_etl.validation import validation_report
from phoenix_etl.verify import verify

T0 = 1_704_067_200_000
DAY = 86_400_000


def trade(number: int, at: int, price: str = "42000.1") -> str:
    return f"{number},{price},0.5,{number},{number},{at},true"


@pytest.fixture
def sound(dumps, catalog):
    """A catalog with a duplicate, a conflict, a reject and a superseded row, and nothing wrong."""
    dumps.add("aggTrades", "2024-01-01", [
        *(trade(n, T0 + n) for n in range(30)), trade(3, T0 + 3), trade(4, T0 + 4, "42000.2"), "bad",
    ])  # fmt: skip
    dumps.add("aggTrades", "2024-01", [trade(2, T0 + 2), trade(90, T0 + DAY)])
    dumps.add("metrics", "2024-01-01", ["2024-01-01 00:05:00,BTCUSDT,1,1,,0,1,1"])
    dumps.add("fundingRate", "2024-01", [f"{T0 + 3},8,-0.00010000"])
    catalog.ingest()
    found = catalog.verify()
    assert found.problems == []
    assert (found.files, found.source_rows) == (10, 37)
    return catalog


def trades_of(catalog) -> Path:
    return min((catalog.root / "data/trades").rglob("*.parquet"))


def problem(catalog, **kwargs: bool) -> str:
    (found,) = catalog.verify(**kwargs).problems
    return found


def test_a_flipped_byte(sound) -> None:
    path = trades_of(sound)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    name = path.relative_to(sound.root).as_posix()
    assert problem(sound) == (
        f"{name}: its bytes changed since it was written; delete it and run the same ingest again, "
        "which builds the day anew"
    )
    path.unlink()
    sound.ingest()
    assert sound.verify().problems == []


def test_a_deleted_file(sound) -> None:
    path = trades_of(sound)
    path.unlink()
    name = path.relative_to(sound.root).as_posix()
    assert problem(sound) == f"{name}: missing; run the same ingest again, it builds the day anew"
    sound.ingest()
    assert sound.verify().problems == []


def test_an_extra_file(sound) -> None:
    path = trades_of(sound)
    extra = path.with_name("2030-01-01T00-00-00-000000000Z_2030-01-01T00-00-00-000000000Z.parquet")
    extra.write_bytes(path.read_bytes())
    assert problem(sound).startswith(
        f"{extra.relative_to(sound.root).as_posix()}: an extra file that the manifest does not know; "
        "NautilusTrader would read it as data"
    )


@pytest.mark.parametrize(
    "name",
    ["rejects/futures/notes.csv", "notes.txt", "rejects/x", "data/y", ".z", "manifest.json~"],
)
def test_a_file_that_no_ingest_put_there(sound, name: str) -> None:
    (sound.root / name).write_text("x")
    move = "NautilusTrader would read it as data. Move" if name == "data/y" else "move"
    said = f"{name}: an extra file that the manifest does not know; {move} it out of the catalog"
    assert problem(sound) == said
    assert sound.ingest().nothing_to_do  # which leaves it alone
    assert problem(sound) == said


def test_folders_and_links_that_no_ingest_put_there(sound, tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        (sound.root / "data/quotes/X.BINANCE" / name).mkdir(parents=True)
        (sound.root / "data/quotes/X.BINANCE" / name / "1.parquet").write_text("x")
    (sound.root / "data/empty").mkdir()  # holds no file
    (sound.root / "mine").symlink_to(tmp_path)
    (sound.root / "rejects/loop").symlink_to(sound.root)
    linked, folder, loop = sound.verify().problems
    said = "a link that the manifest does not know; move it out of the catalog"
    assert (linked, loop) == (f"mine: {said}", f"rejects/loop: {said}")
    assert folder == (
        "data/quotes/: an extra folder of 2 file(s) that the manifest does not know; "
        "NautilusTrader would read it as data. Move it out of the catalog"
    )


def test_a_folder_of_the_catalog_may_be_a_link(sound, tmp_path: Path) -> None:
    away = tmp_path / "another disk"
    (sound.root / "data").rename(away)
    (sound.root / "data").symlink_to(away)
    assert sound.verify().problems == []
    (away / "trades" / "x").write_text("x")
    assert problem(sound).startswith("data/trades/x: an extra file")


@pytest.mark.parametrize("name", ["instrument_specs.yaml", "validation_report.md"])
@pytest.mark.parametrize("change", ["edited", "deleted", "a folder"])
def test_a_text_beside_the_data_that_is_not_as_it_was_written(
    sound, name: str, change: str
) -> None:
    path = sound.root / name
    whole = path.read_bytes()
    path.unlink()
    if change == "edited":
        path.write_bytes(whole.replace(b"0", b"1", 1))
    elif change == "a folder":
        path.mkdir()
    said = {
        "edited": "its bytes changed since it was written; delete it and run the same ingest again, "
        "which writes it anew",
        "deleted": "missing; run the same ingest again, it writes it anew",
        "a folder": "cannot be read (Is a directory); delete it and run the same ingest again, which "
        "writes it anew",
    }[change]
    assert problem(sound) == f"{name}: {said}"
    if change == "a folder":
        path.rmdir()
    assert sound.ingest().nothing_to_do
    assert path.read_bytes() == whole
    assert sound.verify().problems == []


def test_specifications_that_are_no_text_are_written_anew(sound) -> None:
    (sound.root / "instrument_specs.yaml").write_bytes(b"\xff\xfe")
    sound.ingest()
    assert sound.verify().problems == []


def test_other_specifications_are_the_catalogs_after_the_next_ingest(sound, tmp_path: Path) -> None:
    other = tmp_path / "specs.yaml"
    text = (sound.root / "instrument_specs.yaml").read_text("utf-8")
    other.write_text(f"# ours\n{text}", "utf-8")
    sound.ingest(instrument_specs_path=str(other))
    assert (sound.root / "instrument_specs.yaml").read_bytes() == other.read_bytes()
    assert sound.verify().problems == []


def test_a_report_may_have_another_name_and_move_away(sound, tmp_path: Path) -> None:
    sound.ingest(validation_report_path=str(sound.root / "pages/report.md"))
    assert not (sound.root / "validation_report.md").exists()
    assert sound.verify().problems == []
    sound.ingest(validation_report_path=str(tmp_path / "report.md"))
    assert not (sound.root / "pages").exists()
    assert sound.verify().problems == []
    sound.ingest()
    assert not sound.verify().problems
    assert sound.report() == (tmp_path / "report.md").read_text("utf-8")


def test_what_a_crash_may_leave_is_nothing_strange(sound) -> None:
    for name in (".manifest.json.next", "..manifest.json.next.new", ".manifest.json.new"):
        (sound.root / name).write_text("{")
    assert sound.verify().problems == []
    sound.ingest()
    assert not list(sound.root.glob(".manifest*"))


def test_a_changed_source(sound, dumps) -> None:
    path = "futures/daily/metrics/BTCUSDT-metrics-2024-01-01.csv"
    source = dumps.root / path
    source.write_bytes(source.read_bytes().replace(b",1,1,,", b",2,1,,"))
    assert problem(sound) == (
        f"{path}: the source changed since it was ingested; run the ingest again"
    )
    assert sound.verify(against_sources=False).problems == []


def test_a_missing_source(sound, dumps) -> None:
    path = "futures/daily/metrics/BTCUSDT-metrics-2024-01-01.csv"
    (dumps.root / path).unlink()
    assert problem(sound) == f"{path}: in the manifest, but not under the raw roots"


def test_a_manifest_edited_by_hand(sound) -> None:
    path = sound.root / "manifest.json"
    whole = path.read_text("utf-8")
    manifest = json.loads(whole)
    manifest["datasets"]["futures/aggTrades"]["events"] += 1
    path.write_text(json.dumps(manifest), "utf-8")
    assert problem(sound) == (
        f"{path}: edited by hand (its manifest_sha256 does not hold); restore it, or delete it and "
        "the catalog and ingest again"
    )
    path.write_text(whole.replace("{", "{ ", 1), "utf-8")
    assert problem(sound).startswith(
        f"{path}: edited by hand (spaces, or keys that it does not have)"
    )
    path.write_text("{", "utf-8")
    assert "not a manifest of phoenix-etl" in problem(sound)
    path.unlink()
    with pytest.raises(NothingFoundError, match=r"manifest.json: no manifest there"):
        sound.verify()


def test_a_commit_that_was_cut_short(sound) -> None:
    (sound.root / ".phoenix" / "journal.json").write_text('{"moves": [], "removals": []}')
    assert problem(sound).endswith("a commit was interrupted; run the ingest again, it finishes it")
    sound.ingest()
    assert sound.verify().problems == []


REJECTS = "rejects/futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv"
CONFLICTS = "rejects/futures/aggTrades/BTCUSDT-2024-01-01-conflicts.csv"


def test_a_rejects_file_that_lost_a_line(sound) -> None:
    path = sound.root / REJECTS
    path.write_text("file,line,reason,text\n")
    found = sound.verify().problems
    assert any("1 lines were rejected, its rejects file lists 0; delete that" in t for t in found)
    # A line that is not listed is read like any other; no text may end the process in doing so.
    assert any("is not in the rejects file and" in text for text in found)
    path.unlink()
    assert sound.ingest().files_read == 1
    assert sound.verify().problems == []


@pytest.mark.parametrize("name", [REJECTS, CONFLICTS])
@pytest.mark.parametrize("text", ["", "what\n1\n", "file,line,reason,text\na,b,c,d\n", "\xff\xfe"])
def test_a_rejects_file_that_is_none(sound, name: str, text: str) -> None:
    path = sound.root / name
    whole = path.read_bytes()
    path.write_text(text, "latin-1")
    assert sound.verify().problems
    path.unlink()
    sound.ingest()
    assert path.read_bytes() == whole
    assert sound.verify().problems == []


def test_a_line_that_is_not_listed_cannot_end_the_process(dumps, catalog) -> None:
    good = [trade(n, T0 + n) for n in range(30)]
    dumps.add("aggTrades", "2024-01-01", [*good, trade(31, T0, "1e-999999999")])
    catalog.ingest()
    assert catalog.verify().problems == []
    (catalog.root / REJECTS).write_text("file,line,reason,text\n")
    found = catalog.verify().problems
    assert any("price cannot be read ('1e-999999999' is out of range)" in text for text in found)


def test_a_rejected_line_may_hold_a_carriage_return(dumps, catalog) -> None:
    path = "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv"
    dumps.put(path, "\n".join([*(trade(n, T0 + n) for n in range(30)), "a\rb,\r", ""]))
    catalog.ingest()
    assert catalog.verify().problems == []
    text = (catalog.root / REJECTS).read_bytes()
    assert text.endswith(b'31,must not hold a carriage return inside,"a\rb,"\n')


def test_blank_lines_alone_change_nothing(dumps, catalog) -> None:
    path = "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv"
    dumps.put(path, "\n\n".join([trade(n, T0 + n) for n in range(30)]) + "\n\n\n")
    assert catalog.ingest().manifest.files[path].report.blank_lines == 31
    assert catalog.verify().problems == []


def _rewrite(catalog, edit) -> None:
    """Another truth in a data file, with a manifest that was made to agree."""
    path = trades_of(catalog)
    name = path.relative_to(catalog.root).as_posix()
    table = pq.read_table(path, partitioning=None)
    pq.write_table(edit(table), path)
    manifest = manifests.load(catalog.root / "manifest.json")
    parts = dict(manifest.partitions)
    for key, part in parts.items():
        files = [
            msgspec.structs.replace(
                f, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size
            )
            if f.path == name
            else f
            for f in part.files
        ]
        parts[key] = msgspec.structs.replace(part, files=files)
    manifest = manifests.completed(msgspec.structs.replace(manifest, partitions=parts))
    report = validation_report(manifest).encode()
    (catalog.root / "validation_report.md").write_bytes(report)
    texts = manifest.texts | {"validation_report.md": hashlib.sha256(report).hexdigest()}
    data = manifests.encode(msgspec.structs.replace(manifest, texts=texts))
    (catalog.root / "manifest.json").write_bytes(data)


def test_a_stored_value_that_is_not_its_text(sound) -> None:
    def edit(table: pa.Table) -> pa.Table:
        field = table.schema.field("price")
        prices = table.column("price").to_pylist()
        prices[7] += Decimal("0.01")
        return table.set_column(0, field, pa.array(prices, field.type))

    _rewrite(sound, edit)
    assert problem(sound) == (
        "futures/aggTrades/BTCUSDT/2024-01-01: TradeTick differs from its source: "
        "price is 42000.1000000000000000 where 42000.1100000000000000 is stored"
    )


def test_a_value_finer_than_the_metadata_says(sound) -> None:
    """NautilusTrader cuts it silently; that is what the reading back is for."""

    def edit(table: pa.Table) -> pa.Table:
        coarse = {**table.schema.metadata, b"price_precision": b"0"}
        return table.replace_schema_metadata(coarse)

    _rewrite(sound, edit)
    found = problem(sound, against_sources=False)
    assert "NautilusTrader reads other values: price is 42000.0000000000000000 where" in found


def test_files_are_read_back_in_slices_of_time(dumps, catalog, monkeypatch) -> None:
    """Bounded memory, whatever the file; and a wrong value is found in whichever slice it lies."""
    times = [T0 + n // 3 for n in range(95)]  # three rows of each moment
    times[40:60] = [times[40]] * 20  # and more than a slice of one
    dumps.add("aggTrades", "2024-01-01", [trade(n, t) for n, t in enumerate(sorted(times))])
    dumps.add("metrics", "2024-01-01", [
        f"2024-01-01 {n // 12:02}:{n % 12 * 5:02}:00,BTCUSDT,1,1,,0,1,1" for n in range(1, 60)
    ])  # fmt: skip
    catalog.ingest()
    slices: list[int] = []
    real = reader_proof._as_nautilus_reads

    def noted(*args: Any) -> pa.Table:
        read = real(*args)
        slices.append(read.num_rows)
        return read

    monkeypatch.setattr(reader_proof, "SLICE_ROWS", 8)
    monkeypatch.setattr(reader_proof, "_as_nautilus_reads", noted)
    found = catalog.verify()
    assert (found.problems, found.rows) == ([], 95 + 59)
    assert sum(slices) == 95 + 59
    assert len(slices) > 12
    assert max(slices) <= 20 + 8

    def edit(table: pa.Table) -> pa.Table:
        field = table.schema.field("price")
        prices = table.column("price").to_pylist()
        prices[77] += Decimal("0.001")  # finer than the metadata says
        return table.set_column(0, field, pa.array(prices, field.type))

    _rewrite(catalog, edit)
    assert "NautilusTrader reads other values: price is" in problem(catalog, against_sources=False)


def test_a_lost_row(sound) -> None:
    _rewrite(sound, lambda table: table.slice(1))
    found = sound.verify().problems
    assert any("holds 29 rows, not 30" in text for text in found)
    assert any("TradeTick differs from its source" in text for text in found)


def test_a_long_bad_line_is_listed_and_verified(dumps, catalog) -> None:
    long = "x" * 300_000  # longer than the csv module reads by default
    dumps.add("aggTrades", "2024-01-01", [trade(n, T0 + n) for n in range(30)] + [long])
    catalog.ingest()
    assert catalog.verify().problems == []


def test_rows_with_returns_blank_lines_and_other_widths_are_counted(dumps, catalog) -> None:
    rows = [trade(n, T0 + n) for n in range(30)]
    text = "\r\n".join([*rows[:10], "", "  ", "1,2", *rows[10:]])
    path = dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv", text)
    report = catalog.ingest().manifest.files[path].report
    assert (report.rows_read, report.blank_lines, report.rejected) == (31, 2, 1)
    found = catalog.verify()
    assert (found.problems, found.source_rows) == ([], 31)


def test_the_rejects_file_reads_back_what_the_source_said(sound) -> None:
    path = sound.root / "rejects/futures/aggTrades/daily/BTCUSDT-aggTrades-2024-01-01.csv.csv"
    with path.open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {
        "file": "futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-01.csv",
        "line": "34",
        "reason": "must have 7 columns (has 1)",
        "text": "bad",
    }


class Told(Silent):
    """What a person watching would be told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[str] = []
        self.started: list[tuple[int, int]] = []
        self.bytes = self.rows = 0

    def start(self, files: int, total_bytes: int) -> None:
        self.started.append((files, total_bytes))

    def advance(self, bytes_read: int, rows: int) -> None:
        self.bytes += bytes_read
        self.rows += rows

    def file_done(self, path: str) -> None:
        self.done.append(path)

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_progress_is_told(sound) -> None:
    told = Told()
    found = verify(sound.root, [sound.raw], progress=told)
    assert told.notes == [
        "checking 10 files", "reading back through NautilusTrader", "comparing with the dump files",
    ]  # fmt: skip
    assert [files for files, _ in told.started] == [found.files, 5, 4]
    assert len(told.done) == found.files + 5 + 4
    assert any("aggTrades-2024-01-01.csv" in path for path in told.done)
    assert told.rows == found.rows + found.source_rows
    assert 0 <= sum(total for _, total in told.started) - told.bytes < 10  # rounding


def test_files_that_the_ingest_left_out_are_a_problem(sound, dumps) -> None:
    path = dumps.put("futures/daily/aggTrades/BTCUSDT-aggTrades-2024-01-09.csv", "x\n")
    sound.ingest()
    for against_sources in (True, False):
        found = sound.verify(against_sources=against_sources)
        assert list(found.left_out) == [path]
        assert found.problems == [f"left out: {found.left_out[path]}"]
        assert found.not_ingested == []
    assert found.to_json()["left_out"][path].startswith(f"{path}:1: aggTrades must have 7 columns")


def test_files_that_were_never_ingested_are_said_and_no_problem(sound, dumps) -> None:
    path = dumps.add("aggTrades", "2024-01-09", [trade(900, T0 + 8 * DAY)])
    found = sound.verify()
    assert (found.problems, found.not_ingested) == ([], [path])
    assert found.to_json()["not_ingested"] == [path]


def test_raw_roots_are_looked_at_before_the_catalog(sound, tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(UsageError, match=r"existing folder .*check --raw-root"):
        verify(sound.root, [tmp_path / "nowhere"], progress=told)
    assert told.notes == []


def table(**columns: list[object]) -> pa.Table:
    types = {"price": pa.decimal128(38, 16), "id": pa.string(), "side": pa.string()}
    return pa.table({n: pa.array(v, types.get(n)) for n, v in columns.items()})


def test_tables_are_compared_as_sets_of_rows() -> None:
    one = table(ts=[1, 1, 2], price=[Decimal(1), Decimal(2), None], side=["BUY", "SELL", "BUY"])
    same = one.take([2, 1, 0])
    assert difference(one, same) is None
    other = table(ts=[1, 1, 2], price=[Decimal(1), Decimal(3), None], side=["BUY", "SELL", "BUY"])
    assert difference(one, other) == (
        "price is 3.0000000000000000 where 2.0000000000000000 is stored"
    )
    assert difference(one, one.slice(1)) == "2 rows instead of 3"
    # The same values in other rows are another table.
    swapped = table(ts=[1, 1, 2], price=[Decimal(2), Decimal(1), None], side=["BUY", "SELL", "BUY"])
    assert difference(one, swapped) is not None


def test_duplicates_are_folded_by_all_named_columns() -> None:
    rows = table(ts=[1, 1, 1, 2], id=["a", "a", "b", "a"], n=[1, 2, 3, 4])
    assert without_duplicates(rows, ["ts", "id"]).column("n").to_pylist() == [1, 3, 4]
