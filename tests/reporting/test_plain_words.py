"""A verdict in plain words: it says what the verdict says, and no more; report.html begins with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocd.data import write_text
from ocd.reporting.page import write_page
from ocd.reporting.plain_words import HEADLINES, in_plain_words, suite_in_plain_words


def verdict_of(statement: str, rival: str | None = None, **more: Any) -> dict[str, Any]:
    """What results.json says of a run whose verdict is `statement`."""
    against = [{"baseline": "base", "title": "base", "why": "base", "statement": statement}]
    if rival:
        why = "best baseline of at most equal cost"
        against.append({"baseline": "x", "title": "trees", "why": why, "statement": rival})
    verdict = {"comparison": "ocd_ensemble_5 vs base", "metric": "mse", "statement": statement}
    return {
        "task": "table", "examples": {"test": 1200}, "metrics": {"mse": {"higher_is_better": False}},
        "methods": {"base": {"mse": [2.0, 4.0]}, "ocd_ensemble_5": {"mse": [1.0, 2.0]}},
        "verdict": verdict | {"against": against} | more,
    }  # fmt: skip


def test_plain_words_say_how_much() -> None:
    plain = in_plain_words(verdict_of("gain", "no gain"))
    assert plain.headline == "It helps." and plain.tone == "gain"
    first, *_, rival, advice = plain.sentences
    assert first == (
        "On 1,200 test examples the base's mse is 3.0000; with OCD it is 1.5000, 50 % less "
        "(lower is better)."
    )
    assert rival == "Of the other methods that cost no more, the best (trees) cannot be told from OCD."
    assert advice.startswith("What to do: use it")


@pytest.mark.parametrize("statement", HEADLINES)
@pytest.mark.parametrize("rival", [None, "gain", "no gain", "worse", "undecided"])
def test_plain_words_never_say_more_than_the_verdict(statement: str, rival: str | None) -> None:
    plain = in_plain_words(verdict_of(statement, rival))
    advises_use = "What to do: use it" in " ".join(plain.sentences)
    assert advises_use == (statement == "gain" and rival != "worse")
    assert ("unlikely to be chance" in " ".join(plain.sentences)) == (statement in ("gain", "worse"))
    assert plain.tone == {"gain": "gain", "worse": "worse"}.get(statement, "unsure")
    assert ("trees" in " ".join(plain.sentences)) == (rival is not None)


def test_warnings_come_before_the_figures() -> None:
    quick, data = {"sentence": "Quick run: one seed."}, {"sentence": "Look at the data."}
    plain = in_plain_words(verdict_of("gain", quick=quick, data=data))
    assert plain.sentences[:2] == ["Look at the data.", "Quick run: one seed."]


def test_a_suite_is_judged_by_its_ensemble() -> None:
    statements = {"ocd": "worse", "ocd_ensemble_5": "no gain", "ocd_moved_5": "worse"}
    results = {"sets": {"a": {}, "b": {}}, "verdict": {"statements": statements}}
    plain = suite_in_plain_words(results)
    assert plain.headline == "It cannot be said to help." and "`a`, `b`" in plain.sentences[0]


def test_a_page_says_them_first_and_the_figures_under_them(tmp_path: Path) -> None:
    write_text(tmp_path / "report.md", "Gain: 0.1234 to 0.5\n\n# OCD on `x`\n\ntext\n")
    plain = in_plain_words(verdict_of("gain", "no gain"))
    write_page(tmp_path, plain)
    page = (tmp_path / "report.html").read_text()
    places = [
        page.index(text) for text in (plain.headline, plain.sentences[-1], "0.1234 to 0.5", "<h1>")
    ]
    assert places == sorted(places)
