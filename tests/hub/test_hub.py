"""Pushing a generator to a hub and fetching it again, against a hub of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
import torch
from typer.testing import CliRunner

import ocd
from fake_hub import FakeHub, serve
from helpers import digits_base, fitted, test_digits
from ocd import OCD, OCDError
from ocd.cli.app import app
from ocd.hub import NOT_MEASURED
from ocd.runs import Run
from small_run import SMALL

INPUTS = test_digits(8).inputs


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serve() as hub:
        import huggingface_hub.hf_api as hf_api

        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


def push(made: OCD, hub: FakeHub, **options: object) -> str:
    return made.push_to_hub("me/digits-ocd", token=hub.token, **options)


def test_what_is_pushed_is_what_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    made = fitted()
    address = push(made, hub)
    assert address.startswith(f"{hub.url}/me/digits-ocd/commit/")
    files = hub.repositories["me/digits-ocd"]["main"]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert not hub.private["me/digits-ocd"]
    other = OCD.from_pretrained("me/digits-ocd", digits_base(), cache_dir=tmp_path / "one")
    assert torch.equal(other.predict(INPUTS).outputs, made.predict(INPUTS).outputs)
    asked = len(hub.asked)
    again = OCD.from_pretrained(
        "me/digits-ocd", digits_base(), cache_dir=tmp_path / "one", local_files_only=True
    )
    assert len(hub.asked) == asked
    assert torch.equal(again.predict(INPUTS).outputs, made.predict(INPUTS).outputs)


def test_a_private_repository_needs_the_token(hub: FakeHub, tmp_path: Path) -> None:
    push(fitted(), hub, private=True, commit_message="A first try")
    assert hub.private["me/digits-ocd"] and hub.messages == ["A first try"]
    with pytest.raises(OCDError, match="nor a repository that answers"):
        OCD.from_pretrained("me/digits-ocd", digits_base(), token=False, cache_dir=tmp_path)
    OCD.from_pretrained("me/digits-ocd", digits_base(), token=hub.token, cache_dir=tmp_path)


def test_a_revision_is_one_of_several(hub: FakeHub, tmp_path: Path) -> None:
    first, second = fitted(), fitted({"training.num_steps": 21})
    push(first, hub)
    push(second, hub, branch="longer")
    main, longer = (
        OCD.from_pretrained("me/digits-ocd", digits_base(), revision=revision, cache_dir=tmp_path)
        for revision in ("main", "longer")
    )
    assert torch.equal(main.predict(INPUTS).outputs, first.predict(INPUTS).outputs)
    assert torch.equal(longer.predict(INPUTS).outputs, second.predict(INPUTS).outputs)
    with pytest.raises(OCDError, match="Revision"):
        OCD.from_pretrained("me/digits-ocd", digits_base(), revision="none", cache_dir=tmp_path)


def test_what_the_hub_refuses_is_one_line(hub: FakeHub) -> None:
    with pytest.raises(OCDError, match="could not be pushed: ") as refused:
        fitted().push_to_hub("me/digits-ocd", token="wrong")
    assert "\n" not in str(refused.value)
    assert not hub.repositories


@pytest.mark.parametrize("name", ["", "a/b/c", "/"])
def test_what_is_no_name_is_refused_before_anything_is_sent(name: str, hub: FakeHub) -> None:
    with pytest.raises(OCDError, match="names no repository"):
        fitted().push_to_hub(name, token=hub.token)
    assert not hub.asked


def test_an_option_that_is_not_known_is_refused(hub: FakeHub) -> None:
    with pytest.raises(OCDError, match="'privat' is no option of the hub"):
        push(fitted(), hub, privat=True)
    assert not hub.asked
    with pytest.raises(OCDError, match="'version' is no option"):
        OCD.from_pretrained("me/digits-ocd", digits_base(), version="v1")


def test_the_card_of_a_fit_says_that_nothing_was_measured(hub: FakeHub) -> None:
    made = fitted()
    push(made, hub)
    card = hub.repositories["me/digits-ocd"]["main"]["README.md"].decode()
    assert card.split("---\n\n", 1)[1].split("\n\n")[0] == NOT_MEASURED
    assert 'OCD.from_pretrained("me/digits-ocd", base=base)' in card
    assert made.card_facts().base_hash in card and "`fc1`" in card
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert data.library_name == "ocd" and "hypernetwork" in data.tags


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {key: str(value) for key, value in (SMALL | {"baselines": "few"}).items()}
    run = Run.create("digits", tmp_path_factory.mktemp("run") / "digits", settings=settings)
    run.predict(0)
    run.report()
    return run


def test_a_run_is_pushed_with_its_verdict_and_tables(run: Run, hub: FakeHub, tmp_path: Path) -> None:
    arguments = ["push", str(run.root), "me/digits-run", "--licence", "mit", "--private"]
    found = CliRunner().invoke(app, arguments, env={"HF_TOKEN": hub.token})
    assert found.exit_code == 0 and "/me/digits-run/commit/" in found.output
    files = hub.repositories["me/digits-run"]["main"]
    assert files["model.safetensors"] == (run.root / "checkpoint/seed-0/model.safetensors").read_bytes()
    card, report = files["README.md"].decode(), (run.root / "report.md").read_text()
    verdict = report.splitlines()[0]
    assert card.split("---\n\n", 1)[1].startswith(verdict)
    tables = [line for line in report.splitlines() if line.startswith("| ") and "`base`" in line]
    assert (
        tables[0] in card and "license: mit" in card and "CC BY 4.0" not in card.split("## Results")[0]
    )
    asked = len(hub.asked)
    written = CliRunner().invoke(app, [*arguments[:3], "--card", str(tmp_path / "card.md")])
    assert written.exit_code == 0 and len(hub.asked) == asked
    assert "```python" in (tmp_path / "card.md").read_text()


def test_a_run_without_a_report_is_not_pushed(run: Run, hub: FakeHub, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(run.root, tmp_path / "copy")
    (copy / "results.json").unlink()
    with pytest.raises(OCDError, match="has no report yet"):
        ocd.load(copy).push_to_hub("me/digits-run", token=hub.token)
    assert not hub.asked


def test_an_ocd_that_is_not_fitted_pushes_nothing(hub: FakeHub) -> None:
    with pytest.raises(OCDError, match="not fitted"):
        OCD(digits_base()).push_to_hub("me/digits-ocd", token=hub.token)
    assert not hub.asked
