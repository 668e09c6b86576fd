"""Every task is what an evaluation asks for."""

from __future__ import annotations

import pytest

from ocd.evaluation.criteria import Criteria
from ocd.tasks import TASKS, get_task

NAMES = [name for name in vars(Criteria) if isinstance(vars(Criteria)[name], property)]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_all_criteria(name):
    task = get_task(name)
    assert len(NAMES) == 9
    assert all(hasattr(task, attribute) for attribute in NAMES)
