"""Figures as people read them, and what a run's figures amount to in sentences.

A verdict claims no more than the statistics carry: a loss is called a loss; a gain is evidence only
when the deflated Sharpe ratio reaches 95 % on at least [ENOUGH_DAYS][] daily returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from phoenix_schemas.yaml_config import decode_config

from phoenix_runner.config import FeesSection, duration_text
from phoenix_runner.inference import ENOUGH_DAYS
from phoenix_runner.left_out import LeftOut
from phoenix_runner.report.page import Table, Tone, Verdict
from phoenix_runner.venue import fee_rates

CONFIDENCE = 0.95

PARTS_MEAN = (
    "Gross + fees + spread + funding = net. Spread is each fill's price against the mid just before the "
    "event that filled it, so a move that runs over a resting order is in gross; see the mark-outs."
)

PSR_MEANS = (
    "PSR: in what share of samples this long a true ratio at the benchmark would show less than this; "
    "a one-sided confidence level, not the probability that there is skill."
)

_NO_BALANCE = "more than the account could pay for"
_NO_MARGIN = "more margin than the account had free"
REJECTIONS = {
    "POST_ONLY": "post-only would have crossed",
    "INITIAL_MARGIN_EXCEEDS": _NO_MARGIN,
    "CUMULATIVE_INITIAL_MARGIN_EXCEEDS": _NO_MARGIN,
    "NOTIONAL_EXCEEDS_FREE": _NO_BALANCE,
    "CUMULATIVE_NOTIONAL_EXCEEDS_FREE": _NO_BALANCE,
    "QUANTITY_EXCEEDS_MAXIMUM": "more than the largest order",
    "REDUCE_ONLY": "reduce-only would have opened or enlarged a position",
    "No market for": "no quote yet",
}
"""Beginnings of the venue's reasons, in plain words."""

MOST_BEYOND_DISPLAY = 0.05
"""Share of the value traded beyond the displayed size from which a page warns."""

REJECTED = "rejected"
"""How the reason of an order that was sent and not taken begins; other reasons are gates."""

CANNOT_TELL = (
    "What these data cannot tell: the archive has no local receive time, so real latency is "
    "assumed, not measured; the book is known at its best level only (L1), so whatever an order takes "
    "beyond the displayed size is assumed to fill, all of the rest one tick worse (a limit order's at "
    "its limit), which flatters large orders; and the place of a resting order in the queue is assumed. "
    "A live result would differ, usually for the worse."
)


def money(value: str | float | None, currency: str = "", *, sign: bool = False) -> str:
    r"""Two decimals, thousands apart, a true minus; more digits for amounts under one.

    >>> money("-1234.5", "USDT"), money("0.00125"), money(12, sign=True)
    ('−1,234.50\xa0USDT', '0.00125', '+12.00')
    """
    if value is None:
        return "–"
    x = float(value)
    text = f"{abs(x):.3g}" if 0 < abs(x) < 0.1 else f"{abs(x):,.2f}"
    return f"{_sign(x, sign=sign)}{text}\N{NO-BREAK SPACE}{currency}".rstrip()


def percent(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    r"""A share as a percentage; small ones keep two figures.

    >>> percent(-0.1234), percent(0.5, 0), percent(None), percent(0.0000123)
    ('−12.34\xa0%', '50\xa0%', '–', '0.0012\xa0%')
    """
    if value is None:
        return "–"
    x = abs(value) * 100
    text = f"{x:.2g}" if 0 < x < 10**-digits else f"{x:.{digits}f}"
    return f"{_sign(value, sign=sign)}{text}\N{NO-BREAK SPACE}%"


def probability(value: float | None, digits: int = 0) -> str:
    r"""A probability as a percentage, without digits that nobody can vouch for.

    >>> probability(0.1234), probability(1e-9), probability(0.9999), probability(0.123, 1)
    ('12\xa0%', '<\xa00.1\xa0%', '>\xa099.9\xa0%', '12.3\xa0%')
    """
    if value is None:
        return "–"
    if value < 0.001:
        return "<\N{NO-BREAK SPACE}0.1\N{NO-BREAK SPACE}%"
    if value > 0.999:
        return ">\N{NO-BREAK SPACE}99.9\N{NO-BREAK SPACE}%"
    return percent(value, digits)


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A plain number.

    >>> number(-1.234), number(None), number(12345, 0)
    ('−1.23', '–', '12,345')
    """
    return "–" if value is None else f"{_sign(value, sign=sign)}{abs(value):,.{digits}f}"


def duration(seconds: float | None) -> str:
    """A length of time in its natural unit.

    >>> duration(42), duration(600), duration(10_000), duration(300_000), duration(None)
    ('42 s', '10 min', '2.8 h', '3.5 days', '–')
    """
    if seconds is None:
        return "–"
    for limit, unit, name, digits in (
        (120, 1, "s", 0),
        (7200, 60, "min", 0),
        (172800, 3600, "h", 1),
    ):
        if seconds < limit:
            return f"{seconds / unit:.{digits}f} {name}"
    return f"{round(seconds / 86_400, 1):g} days"


def count(n: int, noun: str) -> str:
    """A count with its noun.

    >>> count(1, "fill"), count(2000, "fill")
    ('1 fill', '2,000 fills')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def date(iso: str) -> str:
    """An ISO time for readers: the day, with the time only where it is not midnight.

    >>> date("2024-02-01T00:00:00Z"), date("2023-04-04T23:58:20Z")
    ('2024-02-01', '2023-04-04 23:58')
    """
    day, clock = iso.removesuffix("Z").split("T")
    return day if clock == "00:00:00" else f"{day} {clock[:5]}"


def bounds(low: float, high: float) -> str:
    """A range of values, lower end included, by what bounds it.

    >>> inf = float("inf")
    >>> bounds(-inf, 1.23456), bounds(1, 2), bounds(2, inf), bounds(-inf, inf)
    ('below 1.235', '1 to 2', '2 and above', 'all')
    """
    if math.isinf(low) and math.isinf(high):
        return "all"
    if math.isinf(low):
        return f"below {high:.4g}"
    return f"{low:.4g} and above" if math.isinf(high) else f"{low:.4g} to {high:.4g}"


def run_verdict(summary: Mapping[str, Any], refusals: Mapping[str, int]) -> Verdict:
    """What one run says for or against its strategy, from its figures and its gates' refusals."""
    equity, parts, inference = summary["equity"], summary["attribution"], summary["inference"]
    currency = equity["currency"]
    tone: Tone
    net, gross = float(equity["net"]), float(parts["gross"])
    activity = summary["activity"]
    if activity["fills"] == 0:
        return Verdict(
            "open",
            "The strategy never traded, so there is nothing to judge.",
            _refusals(refusals) or ["No gate refused an entry either: its signal never fired."],
        )
    outcome = "made" if net > 0 else "lost"
    headline = (
        f"{outcome.capitalize()} {money(abs(net), currency)} "
        f"({percent(equity['return'], sign=True)}) in "
        f"{duration(summary['range']['days'] * 86_400)}: "
    )
    if equity["wiped_out_utc"] is not None:
        tone, judgement = "bad", f"the account was wiped out on {date(equity['wiped_out_utc'])}."
    else:
        tone, judgement = judge(net, inference)
    costs = float(parts["fees"]) + float(parts["spread"]) + float(parts["funding"])
    without = (
        f"Before all costs it would have {'made' if gross > 0 else 'lost'} "
        f"{money(abs(gross), currency)}; fees, spread and funding "
        f"{'took' if costs < 0 else 'added'} {money(abs(costs), currency)}."
    )
    risk = (
        f"The deepest fall from a peak was {percent(summary['drawdown']['maximum'])}; "
        f"{count(summary['trades']['count'], 'round trip')}, "
        f"{percent(summary['trades']['win_rate'], 0)} of them with a gain; in the market "
        f"{percent(activity['time_in_market'], 0)} of the time."
    )
    sharpe = sharpe_sentence(inference, summary["returns"]["sharpe_annual"])
    sentences = [without, sharpe, risk, *_refusals(refusals)]
    return Verdict(tone, headline + judgement, sentences)


def gap_sentences(gaps: Sequence[tuple[str, str, str]], *, shaded: bool = True) -> list[str]:
    """Caveat about missing data; each gap as (what, start, end) in ISO time. `shaded` where the page has
    time axes."""
    if not gaps:
        return ["No gap is known in the data that were asked for."]
    shown = "; ".join(f"{what} from {date(a)} to {date(b)}" for what, a, b in gaps[:8])
    more = f"; and {len(gaps) - 8} more" if len(gaps) > 8 else ""
    where = ", shaded on every time axis" if shaded else ""
    found = f"{count(len(gaps), 'gap')} in the data{where}: {shown}{more}. "
    return [
        found + "Nothing could trade there; what the market did meanwhile falls on the next sample."
    ]


def filled_in_gaps_sentence(fills: int) -> str:
    """Caveat about prices that nobody could have had.

    >>> filled_in_gaps_sentence(2)
    'Warning: 2 fills lie in a gap of the quotes, at the last price before it.'
    """
    lie = "lies" if fills == 1 else "lie"
    return f"Warning: {count(fills, 'fill')} {lie} in a gap of the quotes, at the last price before it."


def market_name(*, simulated: bool) -> str:
    """What a subtitle begins with, so that no picture of a page passes for a real market's."""
    return "Simulated market · " if simulated else ""


def data_sentences(
    *, simulated: bool, days_without_data: int, warmup_ns: int, warmed_ns: int
) -> list[str]:
    """Caveats about the data but their gaps; `warmed_ns` of the warm-up asked for had any.

    >>> data_sentences(simulated=False, days_without_data=0, warmup_ns=0, warmed_ns=0)
    []
    """
    found = []
    if simulated:
        found.append(
            "The market is simulated: what earned or lost here is what the simulation put into it."
        )
    if days_without_data:
        days = f"{count(days_without_data, 'day')} of the range"
        found.append(
            f"{days} without any data: no return was earned then, and no figure counts them as days."
        )
    if warmed_ns < warmup_ns:
        had = duration_text(warmed_ns) if warmed_ns > 0 else "none"
        found.append(
            f"Of the warm-up of {duration_text(warmup_ns)} the data had {had}: "
            "indicators began colder than asked."
        )
    return found


def execution_sentences(
    config: Mapping[str, Any], instruments: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """What the suite assumed about fills, fees, latency and funding, for the caveats.

    `instruments` are the specifications of `experiment.json`, which hold the fees of `source: spec`.
    """
    execution = config["execution"]
    latency, fill = execution["latency"], execution["fill"]
    bars = execution["bar_execution"]
    if bars is None:
        how = "Orders that take liquidity fill at the quote in force when they reach the venue" + (
            ""
            if execution["liquidity_consumption"]
            else ", and the size that one took is there again for the next"
        )
    else:
        how = (
            "There are no quotes in this run. Orders fill at the close of the bar they were "
            f"decided on, plus half of an assumed spread of {bars['spread_bps']} bps and "
            f"{bars['slippage_bps']} bps of slippage; real spreads vary, so results that hang on "
            "costs of this size prove little"
        )
    if execution["queue_position"]:
        resting = (
            "a resting order waits until what was displayed ahead of it has traded, or the opposite "
            "quote reaches or passes its price"
        )
    elif execution["trade_execution"]:
        resting = (
            "a resting order fills when a trade touches its price, with no queue ahead of it, or the "
            "opposite quote reaches or passes it"
        )
    else:
        resting = (
            "a resting order that the opposite quote touches fills with probability "
            f"{fill['prob_fill_on_limit']}"
        )
    slip = fill["prob_slippage"]
    worse = f"; with probability {slip} one tick worse" if slip else ""
    funding = config["funding"]
    paid = {
        "settle": "funding is settled at the archive's rates",
        "flat": f"funding is assumed at {funding['flat_rate']} at every settlement",
        "off": "no funding is paid, although a real perpetual would",
    }[funding["mode"]]
    insert = latency["insert_ms"]
    delay = f"{insert} ms after the decision" if insert else "at once, without any latency"
    return [
        f"{how}{worse}; {resting}.",
        f"Orders arrive {delay}. They pay {_fees(execution['fees'], instruments)}; {paid}.",
        _liquidation(config, instruments),
    ]


def _fees(section: Mapping[str, Any], instruments: Sequence[Mapping[str, Any]]) -> str:
    """What orders pay, in bps, and who says so.

    >>> spec = {"instrument_id": "X", "maker_fee": "0.0002", "taker_fee": "0.0004"}
    >>> _fees({"source": "spec"}, [spec])
    '2 bps of notional as maker and 4 bps as taker, by the instrument specification'
    >>> _fees({"source": "tier", "tier": "VIP3"}, [])
    "1.2 bps of notional as maker and 3.2 bps as taker, by the venue's VIP3 tier"
    """
    fees = decode_config(section, FeesSection, source="fees")
    source = {
        "spec": "the instrument specification",
        "tier": f"the venue's {fees.tier} tier",
        "rates": "the suite's own rates",
    }[fees.source]
    zero = Decimal(0)
    if fees.source != "spec":
        maker, taker = fee_rates(fees, (zero, zero))
        return f"{_bps(maker)} bps of notional as maker and {_bps(taker)} bps as taker, by {source}"
    by_rates: dict[tuple[Decimal, Decimal], list[str]] = {}
    for spec in instruments:
        rates = fee_rates(fees, (Decimal(spec["maker_fee"]), Decimal(spec["taker_fee"])))
        by_rates.setdefault(rates, []).append(spec["instrument_id"])
    each = [
        f"{_bps(maker)} bps of notional as maker and {_bps(taker)} bps as taker"
        + (f" on {', '.join(names)}" if len(by_rates) > 1 else "")
        for (maker, taker), names in by_rates.items()
    ]
    return f"{', '.join(each)}, by {source}" if each else f"the fees of {source}"


def _liquidation(config: Mapping[str, Any], instruments: Sequence[Mapping[str, Any]]) -> str:
    """Whether the venue closes what equity no longer carries, at which leverage and margin.

    >>> off = {"execution": {"liquidation": {"enabled": False}}}
    >>> _liquidation(off, [{"instrument_id": "X", "margin_init": "0.2", "margin_maint": "0.004"}])
    'Liquidation is off: no position is closed by force, however far equity falls; leverage at most 5, \
maintenance margin 0.4\\xa0% of notional.'
    """
    section = config["execution"]["liquidation"]
    if section["enabled"]:
        times = section["trigger_ratio"]
        said = (
            "Liquidation is on: all is closed once equity falls below "
            f"{'' if times == 1 else f'{times:g} times '}the maintenance margin"
        )
    else:
        said = "Liquidation is off: no position is closed by force, however far equity falls"
    by_rates: dict[tuple[str, str], list[str]] = {}
    for spec in instruments:
        most = f"{1 / Decimal(spec['margin_init']):.4g}"
        kept = percent(float(spec["margin_maint"]), 1)
        by_rates.setdefault((most, kept), []).append(spec["instrument_id"])
    each = [
        f"leverage at most {most}, maintenance margin {kept} of notional"
        + (f" on {', '.join(names)}" if len(by_rates) > 1 else "")
        for (most, kept), names in by_rates.items()
    ]
    return "; ".join([said, *each]) + "."


def beyond_display_sentence(beyond: float, traded: float) -> str:
    """How much of the value traded found no displayed size, and whether that is too much.

    >>> beyond_display_sentence(0.0, 100.0)
    'No order took more than was displayed.'
    >>> beyond_display_sentence(89.0, 100.0)
    'Warning: 89\\xa0% of the value traded filled beyond the displayed size, at a price that no book \
vouches for; trade smaller before believing the result.'
    """
    share = beyond / traded if traded else 0.0
    if share == 0:
        return "No order took more than was displayed."
    filled = f"{percent(share, 0)} of the value traded filled beyond the displayed size"
    if share <= MOST_BEYOND_DISPLAY:
        return f"{filled}."
    return (
        f"Warning: {filled}, at a price that no book vouches for; trade smaller before believing the "
        "result."
    )


def _bps(share: Decimal) -> str:
    return f"{(share * 10_000).normalize():f}".replace("-", "−")


def judge(net: float, inference: Mapping[str, Any]) -> tuple[Tone, str]:
    """What a result and its inference amount to, as the end of a headline."""
    if net <= 0:
        return "bad", "no case for this strategy here."
    days = inference["observations"]
    if too_few(days):
        return "open", f"{count(days, 'daily return')}, too few to tell skill from luck."
    deflated = inference["deflated"]
    if deflated is None:
        return "open", "its risk cannot be measured, so nothing is proven."
    if deflated < CONFIDENCE:
        return "open", "not distinguishable from luck."
    return "good", "more than luck would explain, as far as these data tell."


def sharpe_sentence(inference: Mapping[str, Any], annual: float | None) -> str:
    """The Sharpe ratio with what it proves after so many trials."""
    if inference["undefined"] is not None or annual is None:
        return f"No Sharpe ratio: {inference['undefined'] or 'the returns do not vary'}."
    trials = inference["trials"]
    tried = (
        "One set of parameters was tried, so nothing is deflated"
        if trials == 1
        else f"The best of {trials:,} worthless sets would show less in "
        f"{probability(inference['deflated'])} (DSR)"
    )
    if few := too_few(inference["observations"]):
        return f"No Sharpe ratio: {few}."
    return (
        f"Sharpe ratio {number(annual)} a year (daily returns, 365 days); were the true one 0, "
        f"{probability(inference['probabilistic'])} of samples this long would show less (PSR). {tried}."
    )


def too_few(days: int) -> str:
    """Why figures about skill are not shown; nothing where there are days enough.

    >>> too_few(4), too_few(30)
    ('4 days, 30 needed', '')
    """
    return "" if days >= ENOUGH_DAYS else f"{count(days, 'day')}, {ENOUGH_DAYS} needed"


def earned(text: str, days: int) -> str:
    """A figure about skill (Sharpe ratio, PSR, DSR) as written; a dash on fewer days than enough.

    >>> earned("14 %", 2), earned("14 %", 300)
    ('–', '14 %')
    """
    return "–" if too_few(days) else text


def sharpe_caption(inference: Mapping[str, Any]) -> str:
    """What stands under a Sharpe ratio: its period, and whether it is worth reading.

    >>> sharpe_caption({"observations": 4}), sharpe_caption({"observations": 90})
    ('4 days, 30 needed', 'per year of 365 days')
    """
    return too_few(inference["observations"]) or "per year of 365 days"


def refusal_name(reason: str) -> str:
    """What stood in the way of an order, as readers call it; BUY and SELL are one.

    >>> refusal_name("stale_quote"), refusal_name("rejected: POST_ONLY LIMIT BUY order limit px of")
    ('stale_quote', 'rejected by the venue: post-only would have crossed')
    >>> refusal_name("rejected: INITIAL_MARGIN_EXCEEDS_FREE_BALANCE: free")
    'rejected by the venue: more margin than the account had free'
    """
    venue, _, code = reason.partition(": ")
    if venue != REJECTED:
        return reason
    for begins, words in REJECTIONS.items():
        if code.startswith(begins):
            return f"{REJECTED} by the venue: {words}"
    return reason


def _refusals(refusals: Mapping[str, int]) -> list[str]:
    """How many entries gates and venue turned down, each with its most frequent reason.

    >>> _refusals({"rejected by the venue: post-only would have crossed": 390, "rejected: ODD": 3})
    ['393 orders were rejected, most often because of: post-only would have crossed.']
    """
    gates = {g: n for g, n in refusals.items() if not g.startswith(REJECTED)}
    venue = {r: n for r, n in refusals.items() if r.startswith(REJECTED)}
    sentences = []
    if gates:
        total, top = sum(gates.values()), max(gates, key=lambda g: (gates[g], g))
        entries = "1 entry" if total == 1 else f"{total:,} entries"
        sentences.append(f"Gates refused {entries}, most often {top}.")
    if rejected := sum(venue.values()):
        most = max(venue, key=lambda r: (venue[r], r)).partition(": ")[2]
        sentences.append(
            f"{count(rejected, 'order')} {'was' if rejected == 1 else 'were'} rejected, "
            f"{'most often ' if len(venue) > 1 else ''}because of: {most}."
        )
    return sentences


def left_out_table(left_out: Sequence[LeftOut]) -> Table:
    """Parameter sets that were not tried, each with why."""
    return Table(
        "Left out",
        "Combinations that the strategy does not allow; they are no trials.",
        ["set", "why"],
        [[o.label, o.reason] for o in left_out],
        numeric=False,
    )


def _sign(value: float, *, sign: bool) -> str:
    return "−" if value < 0 else "+" if sign and value > 0 else ""
