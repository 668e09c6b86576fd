"""Run folders: one task, some seeds, the five verbs, and each goes on where it was stopped."""

from ocd.runs.audit import audit_run
from ocd.runs.condition import compare_conditions
from ocd.runs.planning import RunPlan, plan_run
from ocd.runs.quick import quick_lines
from ocd.runs.reported import compare_runs, read_reported
from ocd.runs.run import VERBS, Run
from ocd.runs.settings import read_settings
from ocd.runs.settings_help import list_settings
from ocd.runs.shares import do_shared
from ocd.runs.suite import Suite, is_suite, report_suite

__all__ = [
    "VERBS",
    "Run",
    "RunPlan",
    "Suite",
    "audit_run",
    "compare_conditions",
    "compare_runs",
    "do_shared",
    "is_suite",
    "list_settings",
    "plan_run",
    "quick_lines",
    "read_reported",
    "read_settings",
    "report_suite",
]
