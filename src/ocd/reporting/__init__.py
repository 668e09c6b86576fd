"""What a person reads of a run: numbers, verdict, tables, figures and report, from its files."""

from ocd.reporting.condition import condition_table
from ocd.reporting.report import markdown_table, write_report
from ocd.reporting.tables import results_table, table_width

__all__ = ["condition_table", "markdown_table", "results_table", "table_width", "write_report"]
