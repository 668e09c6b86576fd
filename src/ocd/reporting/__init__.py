"""Files of a run folder -> numbers -> verdict, tables, figures, report. Nothing here imports torch."""
