"""Test examples to pick: a strip of buttons, and a table that says why each is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ocd.demo.pieces import section, short, table
from ocd.demo.shown import Listed

if TYPE_CHECKING:
    from ocd.demo.page import Page

SCRIPT = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-place]');
  if (button) { props.value = Number(button.dataset.place); trigger('select'); }
});
"""
NOTES = {
    "Most uncertain": "Those of which OCD's draws are least certain.",
    "Changed most": "Those whose loss OCD's ensemble changed most, for the better or the worse.",
}


def chosen_list(listed: str, name: str) -> Any:
    """A component whose value is the number of the test example that was picked last; picking raises
    its event `select`. `listed`: HTML with buttons that have `data-place`. `name`: its id, by words."""
    import gradio as gr

    return gr.HTML(
        value=None, html_template="${listed}", js_on_load=SCRIPT, listed=listed, elem_classes="ocd",
        elem_id=name.lower().replace(" ", "-").replace(",", ""),
    )  # fmt: skip


def example_strip(page: Page, name: str, listed: Sequence[Listed]) -> str:
    """A button for each, with what it looks like where that is an image."""
    buttons = []
    for one in listed:
        seen = page.kind.thumbnail(page.shown.question(one.place))
        small = seen if seen.startswith("<img") else ""
        buttons.append(
            f'<li><button type="button" data-place="{one.place}" '
            f'aria-label="test example {one.place}">{small}<span>{one.place}</span></button></li>'
        )
    return section(name, f'<ul class="picks">{"".join(buttons)}</ul>')


def example_table(page: Page, name: str, listed: Sequence[Listed]) -> str:
    """A row for each, with the score that brought it there and both losses, which are the task's own
    (Eq. 1) for the run's own draws: those of another seed differ."""
    rows = []
    for one in listed:
        button = f'<button type="button" data-place="{one.place}">try {one.place}</button>'
        change, numbers = one.ocd_loss - one.base_loss, (one.score, one.base_loss, one.ocd_loss)
        sign = "better" if change < 0 else "worse" if change > 0 else "same"
        rows.append([
            button,
            f'<span class="thumb">{page.kind.thumbnail(page.shown.question(one.place))}</span>',
            *(f'<span class="number">{short(value)}</span>' for value in numbers),
            f'<span class="{sign}">{sign}</span>',
        ])  # fmt: skip
    score = "uncertainty" if name == "Most uncertain" else "change"
    header = ["", "test example", score, "loss, base", "loss, OCD", "OCD is"]
    return section(name, table(header, rows, name), NOTES[name])
