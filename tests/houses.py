"""A table of houses, as people write such: for tests that read, answer and show tables."""

from __future__ import annotations

import numpy as np
import pandas as pd


def houses(count: int, seed: int) -> pd.DataFrame:
    """Numbers written in several ways, some missing; towns; dates; a price."""
    draw = np.random.default_rng(seed)
    rooms = draw.integers(1, 9, count).astype(float)
    town = draw.choice(["Oslo", "Rome", "Lima"], count)
    price = 1000 * rooms + 500 * (town == "Rome") + draw.normal(0, 100, count)
    return pd.DataFrame(
        {
            "id": [f"house {number}" for number in range(count)],
            "rooms": np.where(draw.random(count) < 0.1, np.nan, rooms),
            "rent": [f"${value:,.2f}" for value in price * 0.3],
            "town": town,
            "garden": draw.choice(["yes", "no"], count),
            "built": [f"{d:02d}.{m:02d}.20{y:02d}" for d, m, y in draw.integers(1, 12, (count, 3))],
            "price": price,
            "grade": np.where(price > np.median(price), "dear", "cheap"),
        }
    )
