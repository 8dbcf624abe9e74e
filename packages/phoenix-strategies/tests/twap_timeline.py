"""Draws TWAP scenarios as text; docs/twap.md shows them, test_twap_timeline.py compares.

python packages/phoenix-strategies/tests/twap_timeline.py      # prints the scenarios anew
"""

from __future__ import annotations

from dataclasses import dataclass, field

from phoenix_strategies.twap import SECOND_NS, Action, Slice, TwapConfig, TwapSchedule

COLUMN_SECS = 2
WIDTH = 46


@dataclass(frozen=True)
class Scenario:
    """A parent of 60 lots over 60 s, 10 s apart, and what happens to it."""

    title: str
    config: dict[str, object] = field(default_factory=dict)
    events: dict[float, tuple[str, object]] = field(default_factory=dict)
    rests_fill: bool = False


SCENARIOS = [
    Scenario("plain: no signal"),
    Scenario("acceleration: theta 1.0, upper 0.5", events={0: ("on_signal", 1.0)}),
    Scenario("damping: theta 0.05, lower 0.1", events={0: ("on_signal", 0.05)}),
    Scenario(
        "decay: theta 1.0, half-life 10 s",
        {"half_life_secs": 10.0},
        {0: ("on_signal", 1.0)},
    ),
    Scenario("high variance from 20 s", events={20: ("on_regime", "HIGH_VARIANCE")}),
    Scenario(
        "pause: low liquidity 15 s to 38 s, grace 30 s",
        {"grace_secs": 30.0},
        {15: ("on_regime", "LOW_LIQUIDITY"), 38: ("on_regime", "NORMAL")},
    ),
    Scenario(
        "sign flip: theta 0.3, then -0.3 at 25 s",
        events={0: ("on_signal", 0.3), 25: ("on_signal", -0.3)},
    ),
    Scenario("cancel at 33 s", events={33: ("cancel", None)}),
    Scenario("passive first, half of each wait, no fill at the touch", {"passive_share": 0.5}),
]


def draw(scenario: Scenario) -> str:
    """The scenario as three lines: title, timeline, result.

    `#` a slice across the spread, `o` one that starts to rest, `=` pause, `!` an event, `.` time.
    """
    config = TwapConfig(**{"horizon_secs": 60.0, "interval_secs": 10.0} | scenario.config)  # type: ignore[arg-type]
    twap = TwapSchedule(config, 1, 60)
    events = {round(t * SECOND_NS): event for t, event in scenario.events.items()}
    marks: dict[int, str] = {}
    paused_from: int | None = None

    def mark(now: int, sign: str) -> None:
        marks[now // SECOND_NS // COLUMN_SECS] = sign

    def take(now: int, actions: list[Action]) -> None:
        for action in actions:
            if not isinstance(action, Slice):
                take(now, twap.on_closed(now, action.child))
            elif action.passive:
                mark(now, "o")
            else:
                mark(now, "#")
                take(now, twap.on_fill(now, action.child, action.lots))

    take(0, twap.start(0))
    while twap.next_wake is not None or events:
        now = min(t for t in (twap.next_wake, min(events, default=None)) if t is not None)
        if now in events:
            method, argument = events.pop(now)
            if now:
                mark(now, "!")
            if argument == "LOW_LIQUIDITY":
                paused_from = now
            elif paused_from is not None:
                for t in range(paused_from // SECOND_NS, now // SECOND_NS, COLUMN_SECS):
                    marks.setdefault(t // COLUMN_SECS, "=")
            take(now, getattr(twap, method)(now, *([] if argument is None else [argument])))
        take(now, twap.on_time(now))
    line = "".join(marks.get(column, ".") for column in range(WIDTH))
    return (
        f"{scenario.title}\n  {line}\n"
        f"  {len(twap.slices)} slices, {twap.filled} filled, {twap.abandoned} abandoned: {twap.ending}\n"
    )


def document() -> str:
    """Every scenario, as the document shows it."""
    ruler = "".join(f"{s:<10d}" for s in range(0, COLUMN_SECS * WIDTH, 20))
    return f"seconds\n  {ruler.rstrip()}\n\n" + "\n".join(map(draw, SCENARIOS))


if __name__ == "__main__":
    print(document())
