"""Known defects of quotes and trades: bookTicker, aggTrades, trades and spot aggTrades."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import Final

from phoenix_etl.synthetic.planting import DAY_MS, CsvFile, Defect, Planter, gap, inversions

_SPOT_ERAS: Final = ((date(2024, 12, 31), 1), (date(2025, 1, 1), 1_000))  # ms, then microseconds
_OLD_KLINES: Final = (
    "open_time,open,high,low,close,volume,close_time,quote_asset_volume,number_of_trades,"
    "taker_buy_base_asset_volume,taker_buy_quote_asset_volume,ignore"
)


def interleaved_quotes(plan: Planter) -> None:
    """Two ordered streams, minutes apart, in one file (#305)."""
    csv = plan.open("bookTicker", 0)
    stamped = [(int(row.rsplit(",", 1)[1]), int(row.split(",", 1)[0]), row) for row in csv.rows]
    late = [(time + (i // 50 % 2) * 180_000, i) for i, (time, _, _) in enumerate(stamped)]
    order = [i for _, i in sorted(late)]
    csv.rows = [stamped[i][2] for i in order]
    keys = [stamped[i][:2] for i in order]
    lines = [csv.line(i + 1) for i in range(len(keys) - 1) if keys[i + 1] < keys[i]]
    plan.ledger(
        "interleaved quotes", "bookTicker", 0, csv, lines[:3], inversions=inversions(keys)
    )  # fmt: skip


def window(plan: Planter, kind: str, day: int, kept: Callable[[int], bool]) -> None:
    """Keep quotes whose time of day (ms) `kept` accepts; note the gaps over five minutes."""
    csv = plan.open("bookTicker", day)
    midnight = plan.midnight_ms(day)
    times = csv.numbers(6)
    csv.rows = [row for row, t in zip(csv.rows, times, strict=True) if kept(t - midnight)]
    left = [midnight, *(t for t in times if kept(t - midnight)), midnight + DAY_MS]
    gaps = [gap(a, b) for a, b in pairwise(left) if b - a >= 300_000]
    plan.ledger(kind, "bookTicker", day, csv, [], gaps=gaps)


def coverage(plan: Planter) -> None:
    """A first day of ten hours, a hole, a feed that stops, an empty day, a missing day (#334)."""
    hour = 3_600_000
    window(plan, "partial quotes", 1, lambda t: 11.8 * hour <= t < 21.7 * hour)
    window(plan, "hole in quotes", 2, lambda t: not 14 * hour <= t < 14 * hour + 700_000)
    window(plan, "stopped quotes", 3, lambda t: t < 5 * hour)
    csv = plan.open("bookTicker", 5)
    csv.rows = []
    plan.ledger("empty quotes", "bookTicker", 5, csv, [], coverage="empty")
    missing = plan.path("bookTicker", 6)
    (plan.root / missing).unlink()
    plan.note("missing quotes", "bookTicker", 6, missing, [], coverage="missing")


def stray_number(plan: Planter) -> None:
    """A blank line and a line with a stray number in the middle of a file."""
    csv = plan.open("bookTicker", 4)
    at = len(csv.rows) // 3
    csv.rows[at:at] = ["", "17"]
    plan.ledger(
        "stray number", "bookTicker", 4, csv, [csv.line(at), csv.line(at + 1)],
        blank_lines=1, rejected=1, rejected_lines=[csv.line(at + 1)],
    )  # fmt: skip


def interleaved_trades(plan: Planter) -> None:
    """A month's aggTrades interleaved, with a stretch whose time stands still (#288, #293)."""
    csv = plan.open("aggTrades", 0)
    times = csv.numbers(5)
    size = 6
    stuck = next(
        i for i in range(len(times) // 2, len(times))
        if times[i] // 60_000 == times[i + size] // 60_000 and times[i] < times[i + size]
    )  # fmt: skip
    for row in range(stuck, stuck + size + 1):
        csv.edit(row, 5, str(times[stuck]))
    times[stuck : stuck + size + 1] = [times[stuck]] * (size + 1)
    late = sorted((t + (i // 20 % 2) * 120_000, i) for i, t in enumerate(times))
    order = [i for _, i in late]
    csv.rows = [csv.rows[i] for i in order]
    keys = [(times[i], i) for i in order]
    lines = [csv.line(i + 1) for i in range(len(keys) - 1) if keys[i + 1] < keys[i]]
    plan.ledger(
        "interleaved trades", "aggTrades", 0, csv, lines[:3], inversions=inversions(keys),
        stuck_time_ns=times[stuck] * 10**6, stuck_rows=times.count(times[stuck]),
    )  # fmt: skip


def duplicate_trades(plan: Planter) -> None:
    """Exact duplicates, next to their row and far from it (#203)."""
    csv = plan.open("aggTrades", 1)
    at = len(csv.rows) // 2
    csv.rows[at:at] = csv.rows[at - 5 : at]
    csv.rows += csv.rows[10:13]
    lines = [*range(csv.line(at), csv.line(at + 5)), *range(csv.line(len(csv.rows) - 3),
             csv.line(len(csv.rows)))]  # fmt: skip
    plan.ledger("duplicate trades", "aggTrades", 1, csv, lines, duplicates=8)


def conflicting_trades(plan: Planter) -> None:
    """The same id with another size; the row as simulated has the smaller text and so is kept."""
    csv = plan.open("aggTrades", 2)
    lines = []
    for k in range(3):
        at = len(csv.rows) * (k + 1) // 4
        csv.rows.insert(at + 1, csv.rows[at])
        csv.edit(at + 1, 2, "9" + csv.rows[at].split(",")[2])
        lines.append(csv.line(at + 1))
    plan.ledger("conflicting trades", "aggTrades", 2, csv, lines, conflicts=3)


def holes(plan: Planter) -> None:
    """One-id holes, as insurance-fund fills leave them, and a real gap of forty trades (#378)."""
    agg, fills, bars = (plan.open(name, 3) for name in ("aggTrades", "trades", "klines_1m"))
    first_ids = {row.split(",", 1)[0]: i for i, row in enumerate(fills.rows)}
    many = [i for i, row in enumerate(agg.rows) if _fills(row) >= 3]
    chosen = many[len(many) // 5 : len(many) // 5 + 3]
    holes, gone = [], []
    midnight = plan.midnight_ms(3)
    for row in chosen:
        _, _, _, _, last, at, _ = agg.rows[row].split(",")
        agg.edit(row, 4, str(int(last) - 1))
        holes.append(int(last))
        # The fill before takes over its size: the aggregate's quantity still equals its fills.
        into, out = first_ids[last] - 1, first_ids[last]
        _merge(fills, into, out)
        gone.append(out)
        minute = (int(at) - midnight) // 60_000
        bars.edit(minute, 8, str(int(bars.rows[minute].split(",")[8]) - 1))
    fills.rows = [row for i, row in enumerate(fills.rows) if i not in gone]
    bars.save()
    plan.ledger("id holes in trades", "trades", 3, fills, [], one_id_holes=holes)
    cut = len(agg.rows) * 3 // 4
    lost = agg.rows[cut : cut + 40]
    del agg.rows[cut : cut + 40]
    minutes = sorted({int(row.split(",")[5]) // 60_000 * 60_000 for row in lost})
    plan.ledger(
        "id holes", "aggTrades", 3, agg,
        [*(agg.line(row + 1) for row in chosen), agg.line(cut)],
        one_id_holes=holes,
        id_gap={
            "agg_trade_ids": [int(lost[0].split(",")[0]), int(lost[-1].split(",")[0])],
            "trade_ids": [int(lost[0].split(",")[3]), int(lost[-1].split(",")[4])],
        },
        bars_differing_open_ns=[minute * 10**6 for minute in minutes],
    )  # fmt: skip


def _fills(agg_row: str) -> int:
    fields = agg_row.split(",")
    return int(fields[4]) - int(fields[3]) + 1


def _merge(fills: CsvFile, into: int, out: int) -> None:
    """Add the sizes of fill `out` to fill `into`."""
    for column in (2, 3):
        sums = [fills.rows[i].split(",")[column] for i in (into, out)]
        places = max(len(text.partition(".")[2]) for text in sums)
        whole, _, fraction = _add(sums[0], sums[1], places).partition(".")
        fraction = fraction if column == 2 else fraction.rstrip("0")
        fills.edit(into, column, f"{whole}.{fraction}" if fraction else whole)


def _add(a: str, b: str, places: int) -> str:
    total = sum(
        int(whole + fraction.ljust(places, "0"))
        for whole, _, fraction in (text.partition(".") for text in (a, b))
    )
    digits = str(total).rjust(places + 1, "0")
    return (
        f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else digits
    )


def off_tick(plan: Planter) -> None:
    """A price off the tick that the precision holds, and one that it does not (71799.36)."""
    csv = plan.open("aggTrades", 4)
    minutes = [time // 60_000 for time in csv.numbers(5)]
    highs = [int(row.split(",")[2].replace(".", "")) for row in plan.open("klines_1m", 4).rows]
    first = plan.midnight_ms(4) // 60_000
    inner = [  # neither open, close nor high of its bar
        i for i in range(1, len(csv.rows) - 1)
        if minutes[i - 1] == minutes[i] == minutes[i + 1]
        and int(f"{csv.rows[i].split(',')[1].replace('.', '')}0") < highs[minutes[i] - first]
    ]  # fmt: skip
    kept, refused = inner[len(inner) // 3], inner[2 * len(inner) // 3]
    price = csv.rows[kept].split(",")[1]
    csv.edit(kept, 1, f"{price}6")
    csv.edit(refused, 1, f"{csv.rows[refused].split(',')[1]}004")
    minute = minutes[refused] * 60_000
    plan.ledger(
        "off-tick price", "aggTrades", 4, csv, [csv.line(kept), csv.line(refused)], rejected=1,
        rejected_lines=[csv.line(refused)], off_tick_lines=[csv.line(kept)], precision_needed=4,
        bars_differing_open_ns=[minute * 10**6],
    )  # fmt: skip


def headers(plan: Planter) -> None:
    """Files from before headers, and klines with their older names (#177, #246, #278)."""
    for dataset in ("aggTrades", "trades"):
        csv = plan.open(dataset, 5)
        csv.has_header = False
        plan.ledger(f"headerless {dataset}", dataset, 5, csv, [])
    csv = plan.open("klines_1m", 0)
    csv.header = _OLD_KLINES
    plan.ledger("older kline header", "klines_1m", 0, csv, [1])


def mixed_units(plan: Planter) -> None:
    """Milliseconds and microseconds in one file: which is it?"""
    csv = plan.open("aggTrades", 6)
    rows = range(len(csv.rows) // 2, len(csv.rows) // 2 + 4)
    for row in rows:
        csv.edit(row, 5, csv.rows[row].split(",")[5] + "000")
    csv.save()
    lines = [csv.line(row) for row in rows]
    plan.note("mixed time units", "aggTrades", 6, csv.file, lines, file_error="time unit")


def spreadsheet(plan: Planter) -> None:
    """Times that a spreadsheet has rounded to six digits."""
    csv = plan.open("aggTrades", 7)
    rows = range(len(csv.rows) // 2, len(csv.rows) // 2 + 3)
    minutes = sorted({int(csv.rows[row].split(",")[5]) // 60_000 * 60_000 for row in rows})
    for row in rows:
        digits = csv.rows[row].split(",")[5]
        csv.edit(row, 5, f"{digits[0]}.{digits[1:6]}E+12")
    lines = [csv.line(row) for row in rows]
    plan.ledger(
        "spreadsheet times", "aggTrades", 7, csv, lines, rejected=3, rejected_lines=lines,
        bars_differing_open_ns=[minute * 10**6 for minute in minutes],
    )  # fmt: skip


def spot_units(plan: Planter) -> None:
    """Spot aggTrades: no header, `True`/`False`, microseconds from 2025."""
    for day, factor in _SPOT_ERAS:
        source = plan.open("aggTrades", 8)
        shift = ((day - date(1970, 1, 1)).days * DAY_MS) - plan.midnight_ms(8)
        rows = []
        for row in source.rows[:500]:
            agg, price, size, first, last, time, maker = row.split(",")
            price, size = (f"{a}.{b.ljust(8, '0')}" for a, _, b in map(_split, (price, size)))
            stamp = (int(time) + shift) * factor
            rows.append(f"{agg},{price},{size},{first},{last},{stamp},{maker.title()},True")
        file = f"spot_data/daily/aggTrades/{plan.symbol}-aggTrades-{day}.csv"
        (plan.root / file).parent.mkdir(parents=True, exist_ok=True)
        csv = CsvFile(plan.root, file, "", rows, has_header=False)
        csv.save()
        unit = "ms" if factor == 1 else "us"
        expected = {"unit": unit, "rows": len(rows), "written": len(rows)}
        plan.planted.append(
            Defect(f"spot {unit}", "spot aggTrades", day.isoformat(), file, (), expected)
        )


def _split(text: str) -> tuple[str, str, str]:
    return text.partition(".")
