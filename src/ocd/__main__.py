"""`python -m ocd`."""

from ocd.cli import main

main()
