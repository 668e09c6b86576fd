"""What a person reads of a run: numbers, verdict, tables, figures and report, from its files.

    results = write_report(Path("runs/digits"))   # results.json, report.md, figures/*.png
    table = side_by_side([Reported("runs/digits", config, results)], {})     # of several runs

This room reads the files of a run folder and nothing else: no model is loaded, nothing is predicted.
So a report can be made again at any time, also by another version.
"""

from ocd.reporting.condition import condition_table
from ocd.reporting.joint import joint_table
from ocd.reporting.listening import decibels
from ocd.reporting.opening import left_out_titles, opening_lines
from ocd.reporting.page import as_fragment, write_page
from ocd.reporting.plain_words import suite_in_plain_words
from ocd.reporting.report import markdown_table, results_in_short, write_report
from ocd.reporting.side_by_side import Reported, runs_markdown, runs_table, side_by_side
from ocd.reporting.suite import suite_markdown, suite_results
from ocd.reporting.suite_figure import draw_gains
from ocd.reporting.tables import results_table, table_width

__all__ = [
    "Reported",
    "as_fragment",
    "condition_table",
    "decibels",
    "draw_gains",
    "joint_table",
    "left_out_titles",
    "markdown_table",
    "opening_lines",
    "results_in_short",
    "results_table",
    "runs_markdown",
    "runs_table",
    "side_by_side",
    "suite_in_plain_words",
    "suite_markdown",
    "suite_results",
    "table_width",
    "write_page",
    "write_report",
]
