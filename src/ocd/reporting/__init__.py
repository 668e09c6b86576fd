"""What a person reads of a run: numbers, verdict, tables, figures and report, from its files.

    results = write_report(Path("runs/digits"))   # results.json, report.md, figures/*.png

This room reads the files of a run folder and nothing else: no model is loaded, nothing is predicted.
So a report can be made again at any time, also by another version.
"""

from ocd.reporting.condition import condition_table
from ocd.reporting.report import markdown_table, write_report
from ocd.reporting.tables import results_table, table_width

__all__ = ["condition_table", "markdown_table", "results_table", "table_width", "write_report"]
