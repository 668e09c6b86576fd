"""Put the committed results into the README: `python tools/readme_tables.py`. A test checks it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ocd.reporting.tables import markdown_table

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- table: (\S+) -->\n.*?<!-- end -->", re.DOTALL)


def filled(text: str, root: Path = ROOT) -> str:
    """The text with every `<!-- table: FOLDER -->` block made from FOLDER/results.json."""

    def block(match: re.Match[str]) -> str:
        results = json.loads((root / match[1] / "results.json").read_text())
        table, verdict = markdown_table(results), results["verdict"]["sentence"]
        return f"<!-- table: {match[1]} -->\n{table}\n\n{verdict}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(filled(readme.read_text()))
