"""How the page looks: the machine's own fonts, light and dark, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "Consolas", "Noto Sans Mono", "monospace")

CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def make_theme() -> Any:
    """Gradio's plainest theme with fonts that every machine has."""
    import gradio as gr

    made = gr.themes.Base(font=list(FONT), font_mono=list(MONO), primary_hue="blue")
    # Gradio's own greys are too light to read.
    light, dark = "#56606b", "#aab2bd"
    return made.set(
        body_text_color_subdued=light,
        body_text_color_subdued_dark=dark,
        block_info_text_color=light,
        block_info_text_color_dark=dark,
        block_label_text_color=light,
        block_label_text_color_dark=dark,
        block_title_text_color="#1b1f24",
        block_title_text_color_dark="#e8eaed",
        input_placeholder_color=light,
        input_placeholder_color_dark=dark,
        slider_color="#1f5fae",
        slider_color_dark="#7fb2f5",
        button_primary_background_fill="#1f5fae",
        button_primary_background_fill_hover="#174b8b",
        button_primary_background_fill_dark="#1f5fae",
        button_primary_background_fill_hover_dark="#174b8b",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
    )
