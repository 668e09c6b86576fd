"""What intervals over a test set rest on: its examples, or the groups of them that belong together.

Documents of a query, visits of a patient and overlapping windows of a series are no evidence of their
own. Of fewer than `ocd.evaluation.FEWEST` pieces nothing is said: every statement is "undecided".
"""

from __future__ import annotations

from typing import NamedTuple

from ocd.evaluation import FEWEST, Array, Json, num_pieces

UNITS = {
    "example": ("test example", "test examples"),
    "group": ("group of test examples", "groups of test examples"),
    "query": ("query", "queries"),
}
"""What a piece of evidence is (ocd.tasks.TaskData.evidence) -> one of it, several of it."""


class Evidence(NamedTuple):
    """`num`: pieces of evidence, of `num_examples` test examples. `unit`: one of `UNITS`."""

    num: int
    num_examples: int
    unit: str = "example"

    @classmethod
    def of(cls, num_examples: int, together: Array | None, unit: str) -> Evidence:
        """Of so many test examples; `together` (N,): their groups, None where each is its own."""
        num = num_pieces(num_examples, together)
        return cls(num, num_examples, "example" if together is None else unit)

    @property
    def is_enough(self) -> bool:
        """Whether anything may be said of a difference."""
        return self.num >= FEWEST

    @property
    def over(self) -> str:
        """What was resampled: "test examples", "339 queries"."""
        return UNITS["example"][1] if self.unit == "example" else self.counted

    @property
    def counted(self) -> str:
        """How many pieces there are: "2 groups of test examples"."""
        return f"{self.num:,} {UNITS[self.unit][self.num != 1]}"

    @property
    def why_not(self) -> str:
        """Why nothing can be told of too few: "there are only 7 test examples, and ..."."""
        kinds = self.counted.removesuffix(f" of {UNITS['example'][1]}")
        found = f"the {self.num_examples:,} test examples are of {kinds}"
        if self.unit == "example":
            found = f"there {'is' if self.num == 1 else 'are'} only {self.counted}"
        return f"{found}, and what is found on fewer than {FEWEST} may be chance"

    @property
    def sentence(self) -> str:
        """`why_not`, by itself."""
        return f"{self.why_not[0].upper()}{self.why_not[1:]}."

    def as_json(self) -> Json:
        """As results.json has it."""
        return {"num": self.num, "examples": self.num_examples, "over": self.over}


def intervals_over(results: Json) -> str:
    """What the intervals of results.json are over, with its seeds where these are several."""
    seeds = " and seeds" if len(results["seeds"]) > 1 else ""
    # Results of before there were several kinds of evidence do not say.
    over = results["verdict"].get("evidence", {}).get("over", UNITS["example"][1])
    return f"{over}{seeds}"
