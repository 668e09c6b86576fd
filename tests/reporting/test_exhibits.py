"""Single texts in the report: whatever is in them, and only what can be seen to change."""

from __future__ import annotations

import re

import pytest
import torch

from ocd import Examples
from ocd.reporting.exhibits import exhibits_section
from ocd.reporting.page import as_fragment
from ocd.reporting.records import RunRecords
from ocd.reporting.tables import grid
from ocd.tasks.text.changes import changed_texts
from ocd.tasks.text.options import TextData
from ocd.tasks.text.tokens import row_key


def exhibits(moves: list[float], classes: list[str], texts: list[str]) -> dict:
    """Of texts of the second class, whose logit `moves`."""
    rows = torch.arange(1, 1 + len(texts))[:, None]
    examples = Examples(rows, torch.ones(len(texts)).long())
    data = TextData(
        examples, examples, classes=classes,
        texts={row_key(row): text for row, text in zip(rows, texts, strict=True)},
    )  # fmt: skip
    base = torch.zeros(len(texts), 2)
    return changed_texts(data, base, base + torch.tensor([[0.0, move] for move in moves]))


def cells(text: str) -> list[list[str]]:
    """Of each row of the tables, as a reader of Markdown finds them."""
    rows = re.findall(r"<tr>(.*?)</tr>", as_fragment(text), flags=re.DOTALL)
    return [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, flags=re.DOTALL) for row in rows]


def test_only_what_is_seen_in_two_decimals_is_a_change() -> None:
    tiny, large = exhibits([1e-7, -1e-7, 0.0199], ["a", "b"], ["x", "y", "z"]), exhibits(
        [0.5, -0.5, 1e-6], ["a", "b"], ["x", "y", "z"]
    )  # fmt: skip
    assert tiny["gained"] == tiny["lost"] == [] and tiny["texts"] == 3
    assert [one["text"] for one in large["gained"]] == ["x"]
    assert [one["text"] for one in large["lost"]] == ["y"]
    for of in (*large["gained"], *large["lost"]):
        assert f"{of['base_probability']:.2f}" != f"{of['ocd_probability']:.2f}"
    section = exhibits_section(RunRecords({}, [], {}, {}, {}, {0: tiny}))
    assert section[-1] == "No text's right class gained or lost 0.01 of probability (seed 0)."


@pytest.mark.parametrize("name", ["a|b", "a\\|b", "a\nb", "a\r\n\nb", "|", "\\"])
def test_names_and_texts_do_not_break_a_table(name: str) -> None:
    shown = exhibits([0.5], ["other", name], [f"good {name} film"])
    rows = cells("\n\n".join(exhibits_section(RunRecords({}, [], {}, {}, {}, {0: shown}))))
    plain = re.sub(r"\s+", " ", name)
    (row,) = [row for row in rows if "film" in row[0]]
    assert len(row) == 5 and row[1] == plain, row
    assert cells(grid(["x", name], [[name, "1"]]))[1] == [plain, "1"]
