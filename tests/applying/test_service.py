"""The service of docs/apply.md: fifty requests at once get the answers that each would get alone."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from test_apply import run_of, table_settings

from houses import houses

PAGE = Path(__file__).resolve().parents[2] / "docs" / "apply.md"


def test_the_services_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    houses(160, seed=0).to_csv(tmp_path / "train.csv", index=False)
    houses(50, seed=1).to_csv(tmp_path / "test.csv", index=False)
    run_of(tmp_path / "runs" / "homes", "table", table_settings(tmp_path, "price"))
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(from fastapi.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(program.strip().splitlines()) <= 20
    service: dict[str, object] = {}
    exec(compile(program, PAGE.name, "exec"), service)
    rows = houses(50, seed=6)[["rooms", "rent", "town", "garden", "built"]]
    bodies = [[row.dropna().to_dict()] for _, row in rows.iterrows()]
    bodies = [[{"rooms": None} | body[0]] for body in bodies]
    with TestClient(service["app"]) as client:

        def ask(body: list[dict[str, object]]) -> list[dict[str, object]]:
            answer = client.post("/predict", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        alone = [ask(body) for body in bodies]
        with ThreadPoolExecutor(50) as pool:
            together = list(pool.map(ask, bodies))
        assert together == alone and len({str(one) for one in alone}) == 50
        bad = client.post("/predict", json=[bodies[0][0] | {"rooms": "many"}])
        assert bad.status_code == 422
        assert "row 1, column 'rooms': 'many' is not a number" in bad.json()["detail"]
