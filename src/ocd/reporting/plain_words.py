"""A verdict in plain words, for those who have never read an interval: what report.html begins with.

They say what the verdict says and no more: each sentence follows from a statement in results.json
(ocd.reporting.verdict), none from looking at a difference anew.
"""

from __future__ import annotations

from typing import NamedTuple

from ocd.evaluation import Json
from ocd.reporting.asked import DRAWS
from ocd.reporting.verdict import EQUAL_COST
from ocd.reporting.wording import decimals, known_mean, words

HEADLINES = {
    "gain": "It helps",
    "no gain": "It cannot be said to help",
    "worse": "It makes the answers worse",
    "undecided": "It cannot be told whether it helps",
}
REASONS = {
    "gain": "A difference like this is unlikely to be chance: its 95 % interval leaves out zero.",
    "no gain": "A difference like this may be chance: its 95 % interval holds zero.",
    "worse": "This is unlikely to be chance: the 95 % interval of the difference leaves out zero.",
    "undecided": "There is no interval to judge by; the figures below say why.",
}
DRAWS_HELP = {
    "gain": "Its draws help",
    "no gain": "Its draws cannot be said to help",
    "worse": "Its draws are worse than what costs nothing",
    "undecided": "It cannot be told whether its draws help",
}
"""Of a run that was asked for draws, not for one answer."""
USE_OF_DRAWS = {
    "gain": (
        "What to do: take the draws where you need to know what may come, not one answer. That is "
        "known for inputs like the test examples, no others."
    ),
    "no gain": "What to do: take the base's answer with residuals of other examples, which costs less.",
    "worse": "What to do: take the base's answer with residuals of other examples.",
    "undecided": "What to do: judge them on more test examples before you use them.",
}
RIVALS = {
    "gain": "does worse than OCD, beyond what chance explains",
    "no gain": "cannot be told from OCD",
    "worse": "does better than OCD, beyond what chance explains",
    "undecided": "cannot be compared with OCD here",
}


class PlainWords(NamedTuple):
    """`headline`: in one line. `sentences`: why, and what to do. `tone`: gain, worse or unsure."""

    headline: str
    sentences: list[str]
    tone: str


def in_plain_words(results: Json) -> PlainWords:
    """The verdict of results.json for people: does it help, how much, is there anything better."""
    verdict = results["verdict"]
    if verdict.get("asked", {}).get("goal") == DRAWS:
        return _of_draws(results)
    statement = verdict["statement"]
    sentences = _said_first(verdict, "data", "quick", "distribution")
    sentences += [text for text in (_how_much(results), REASONS[statement]) if text]
    rival = next((of for of in verdict["against"] if of["why"] == EQUAL_COST), None)
    if rival is not None:
        sentences.append(
            f"Of the other methods that cost no more, the best ({rival['title']}) "
            f"{RIVALS[rival['statement']]}."
        )
    sentences.append(_advice(statement, None if rival is None else rival["statement"]))
    return PlainWords(f"{HEADLINES[statement]}.", sentences, _tone(statement))


def _of_draws(results: Json) -> PlainWords:
    """The same of a run that was asked for draws: their mean is only said what it comes to."""
    verdict = results["verdict"]
    statement = verdict["asked"]["statement"]
    sentences = _said_first(verdict, "data", "quick", "distribution", "joint", "asked")
    if how_much := _how_much(results):
        sentences.append(f"The mean of the draws, as one answer: {how_much[0].lower()}{how_much[1:]}")
    sentences.append(USE_OF_DRAWS[statement])
    return PlainWords(f"{DRAWS_HELP[statement]}.", sentences, _tone(statement))


def _said_first(verdict: Json, *parts: str) -> list[str]:
    said = (verdict.get(part, {}).get("sentence") for part in parts)
    return [text for text in said if text]


def suite_in_plain_words(results: Json) -> PlainWords:
    """The same of a suite: what its ensemble's average over the sets says."""
    found = results["verdict"]["statements"]
    ensembles = [of for method, of in found.items() if method.startswith("ocd_ensemble_")]
    statement = (ensembles or ["undecided"])[0]
    sets = ", ".join(f"`{name}`" for name in results["sets"])
    where = f"This is about the average of {len(results['sets'])} sets: {sets}."
    return PlainWords(f"{HEADLINES[statement]}.", [where, REASONS[statement]], _tone(statement))


def _how_much(results: Json) -> str:
    """Both losses and their ratio; "" where they are not known."""
    verdict = results["verdict"]
    name, metric = verdict["comparison"].removesuffix(" vs base"), verdict["metric"]
    pair = [known_mean(results["methods"].get(key, {}).get(metric, [])) for key in ("base", name)]
    before, after = pair
    if before is None or after is None:
        return ""
    unit = results["metrics"][metric].get("unit", "")
    places = decimals(pair, unit)
    tail = f" {unit}" if unit else ""
    change = ""
    if before > 0 and after != before:
        share = 100 * abs(after - before) / before
        change = f", {share:.3g} % {'less' if after < before else 'more'}"
    if after == before:
        change = ", the same"
    count = results["examples"].get("test")
    where = f"On {count:,} test examples" if count else "On the test examples"
    return (
        f"{where} the base's {words(metric)} is {before:.{places}f}{tail}; with OCD it is "
        f"{after:.{places}f}{tail}{change} (lower is better)."
    )


def _advice(statement: str, rival: str | None) -> str:
    """What follows for whoever has to decide."""
    if statement == "worse":
        return "What to do: do not use OCD here."
    if statement != "gain":
        return (
            "What to do: keep the network as it is. More test examples would show a smaller "
            "difference, if there is one."
        )
    if rival == "worse":
        return "What to do: OCD is better than nothing, but the other method is better at no more cost."
    return (
        "What to do: use it if its cost suits you (see “What it costs”). Its gain is known for inputs "
        "like the test examples, no others."
    )


def _tone(statement: str) -> str:
    """The class that the page's style knows; "no gain" and "undecided" look alike."""
    return statement if statement in ("gain", "worse") else "unsure"
