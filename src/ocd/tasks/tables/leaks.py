"""What makes a table's result too good to be true: named before anything else in the report.

A column that determines the target alone, a column that only numbers the rows, and test rows that are
copies of training rows. Nothing is changed by it: what to drop is the user's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ocd.tasks.tables.kinds import Columns, finite, name_of, parts_of_dates

if TYPE_CHECKING:
    import pandas as pd

SURE = 0.999
"""Rank correlation, share of the variance, or accuracy from which on a column says the target."""
MOST_ROWS = 5000
"""Rows that are looked at: more say the same."""
UNIQUE = 0.95
"""Share of different values from which on whole numbers or text may be the name of a row."""


def find_leaks(
    train: pd.DataFrame, test: pd.DataFrame, target: str, kind: str, columns: Columns
) -> list[str]:
    """A line for each finding. `kind`: regression or classification; `columns`: of the features."""
    few = train if len(train) <= MOST_ROWS else train.sample(MOST_ROWS, random_state=0)
    found = []
    for name in columns.names:
        numbers = _as_one_number(few, name, columns)
        share = _told_by(numbers, few[target], kind)
        if share is not None:
            found.append(
                f"column {name!r} alone says the target ({share}): if it is not known before the "
                f"target is, leave it out (--set drop={name})"
            )
        elif _names_rows(few[name], name in columns.categories):
            found.append(
                f"column {name!r} has another value in nearly every row, as a row number has: "
                f"it cannot help on rows to come (--set drop={name})"
            )
    copies = _copies(train, test, columns.names, target)
    return found + copies


def _as_one_number(rows: pd.DataFrame, name: str, columns: Columns) -> Any:
    """A column as numbers in an order; categories by their place in the alphabet."""
    if name in columns.numbers:
        return finite(columns.numbers[name].read(rows[name])).to_numpy()
    if name in columns.dates:
        return parts_of_dates(rows, {name: columns.dates[name]}).iloc[:, 0].to_numpy()
    names = rows[name].map(lambda value: "" if value is None else name_of(value))
    return names.astype("category").cat.codes.to_numpy(np.float64)


def _told_by(numbers: Any, target: pd.Series, kind: str) -> str | None:
    """How well a column tells the target, in words, where that is nearly perfectly."""
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    known = np.isfinite(numbers)
    if known.mean() < 0.5 or len(np.unique(numbers[known])) < 2:
        return None
    column = numbers[known][:, None]
    folds = KFold(2, shuffle=True, random_state=0)
    if kind == "classification":
        names = target[known].map(name_of).to_numpy()
        commonest = float(np.unique(names, return_counts=True)[1].max()) / len(names)
        tree = DecisionTreeClassifier(max_leaf_nodes=256, random_state=0)
        accuracy = float((cross_val_predict(tree, column, names, cv=folds) == names).mean())
        told = accuracy > SURE and accuracy > commonest + 0.5 * (1 - commonest)
        return f"a tree on it is right in {100 * accuracy:.4g} % of the rows" if told else None
    values = target[known].to_numpy(np.float64)
    ranks = _ranks(column[:, 0]), _ranks(values)
    if min(rank.std() for rank in ranks) == 0:
        return None
    correlation = float(np.corrcoef(*ranks)[0, 1])
    if abs(correlation) > SURE:
        return f"rank correlation {correlation:.5f}"
    predicted = cross_val_predict(
        DecisionTreeRegressor(max_leaf_nodes=256, random_state=0), column, values, cv=folds
    )
    share = 1 - float(np.mean((predicted - values) ** 2) / np.var(values))
    return f"a tree on it explains {100 * share:.4g} % of the variance" if share > SURE else None


def _ranks(values: Any) -> Any:
    """Ranks, equal values at their middle."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _names_rows(column: pd.Series, is_category: bool) -> bool:
    known = column.dropna()
    if len(known) < 50 or known.nunique() < UNIQUE * len(known):
        return False
    if is_category:
        return True
    try:
        numbers = known.to_numpy(np.float64)
    except (TypeError, ValueError):
        return False
    whole = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    # Numbers of rows lie close together; amounts that all differ do not.
    return bool(whole and known.nunique() == len(known) and np.ptp(numbers) < 10 * len(numbers))


def _copies(train: pd.DataFrame, test: pd.DataFrame, names: list[str], target: str) -> list[str]:
    import pandas as pd

    known = pd.util.hash_pandas_object(train[names].astype(str), index=False)
    labelled = pd.util.hash_pandas_object(train[[*names, target]].astype(str), index=False)
    same = pd.util.hash_pandas_object(test[names].astype(str), index=False).isin({*known})
    told = pd.util.hash_pandas_object(test[[*names, target]].astype(str), index=False).isin({*labelled})
    if not same.any():
        return []
    # A target of few values repeats, and so do features of few: what is equal by chance is no copy.
    if train[target].nunique() > 0.5 * len(train):
        if not told.any():
            return []
    elif known.nunique() < 0.5 * len(train):
        return []
    return [
        f"{int(same.sum())} of {len(test)} test rows have the features of a training row, "
        f"{int(told.sum())} of them its target too: the test knows what it should not; remove copies, "
        "or split by what they belong to (--set test_path=FILE)"
    ]
