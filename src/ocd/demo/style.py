"""How the page looks: the machine's own fonts, light and dark, nothing from elsewhere."""

from __future__ import annotations

from typing import Any

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "Consolas", "Noto Sans Mono", "monospace")

CSS = """
:root { --o-ink: #1b1f24; --o-soft: #56606b; --o-line: #d5dae0; --o-paper: #ffffff; --o-tint: #f4f6f8;
  --o-base: #8a6d3b; --o-ours: #1f5fae; --o-draw: #1f5fae; --o-truth: #1d7a45; --o-warn: #8a4b00;
  --o-error: #a3201a; --o-none: #6a5a00; }
.dark { --o-ink: #e8eaed; --o-soft: #aab2bd; --o-line: #3d444d; --o-paper: #14171b; --o-tint: #1e2329;
  --o-base: #d9b36a; --o-ours: #7fb2f5; --o-draw: #7fb2f5; --o-truth: #6fd39a; --o-warn: #f0b464;
  --o-error: #ff9a91; --o-none: #d8c25a; }
.gradio-container { max-width: min(76rem, 100vw) !important; margin: 0 auto; }
gradio-app, .gradio-container, .gradio-container .app, .gradio-container .contain { max-width: 100vw; }
.gradio-container .html-container, .gradio-container .html-container > div { padding: 0 !important; }
.gradio-container .app, .gradio-container .contain, .gradio-container .tabs,
.gradio-container .tabitem, .gradio-container .wrap,
.gradio-container .column, .gradio-container .block, .gradio-container .html-container, .ocd, .ocd > div,
.answer, .answer section { min-width: 0; max-width: 100%; }
.ocd strong { color: inherit; }
.ocd > div > section:first-child h2, .ocd .answer > section:first-child h2 { margin-top: 0; }
.gradio-container button[role=tab][aria-selected=true] { color: var(--o-ours); }
.gradio-container input[type=range] + *, .gradio-container .min_value, .gradio-container .max_value {
  color: var(--o-soft) !important; }
.ocd, .ocd p, .ocd td, .ocd th, .ocd li, .ocd figcaption { color: var(--o-ink); }
.ocd h1 { font-size: 1.7rem; font-weight: 700; margin: .2rem 0; color: var(--o-ink); }
.ocd h2 { font-size: 1.02rem; font-weight: 650; margin: 1.1rem 0 .45rem; color: var(--o-ink); }
.ocd h3 { font-size: .82rem; font-weight: 600; margin: 0; color: var(--o-soft); }
.ocd p.note, .ocd p.small, .ocd .small { font-size: .86rem; color: var(--o-soft); }
.ocd p.warn { color: var(--o-warn); font-weight: 600; }
.ocd p.error { color: var(--o-error); font-weight: 600; }
.ocd .asked { font-size: .86rem; color: var(--o-soft); margin: 0 0 .4rem; }
.ocd .verdict { border-left: .35rem solid var(--o-none); background: var(--o-tint); padding: .6rem .9rem;
  border-radius: .3rem; margin-top: .6rem; }
.ocd .verdict.gain { border-color: var(--o-truth); } .ocd .verdict.worse { border-color: var(--o-error); }
.ocd .verdict p { margin: .15rem 0; }
.ocd .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .6rem; }
.ocd .tile { background: var(--o-tint); border-radius: .15rem .15rem .5rem .5rem; padding: .6rem .8rem;
  border-top: .25rem solid var(--o-line); min-width: 0; overflow-wrap: anywhere; }
.ocd .tile.base { border-top-color: var(--o-base); } .ocd .tile.ours { border-top-color: var(--o-ours); }
.ocd .tile.truth { border-top-color: var(--o-truth); }
.ocd .tile .big { font-size: 1.55rem; font-weight: 700; margin: .1rem 0 0; line-height: 1.2; }
.ocd .tile .small { margin: .1rem 0 0; }
.ocd .table { overflow-x: auto; max-width: 100%; }
.ocd table { border-collapse: collapse; width: 100%; font-size: .92rem; }
.ocd caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.ocd table, .ocd tr, .ocd th, .ocd td { border: 0 !important; background: none !important; }
.ocd th, .ocd td { text-align: left; padding: .28rem .5rem !important;
  border-bottom: 1px solid var(--o-line) !important; }
.ocd details { margin-top: .4rem; } .ocd summary { cursor: pointer; font-size: .86rem; color: var(--o-soft); }
.ocd th { font-size: .82rem; color: var(--o-soft); font-weight: 600; }
.ocd .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.ocd .classes td:nth-child(2) { width: 60%; min-width: 7rem; }
.ocd .track { position: relative; height: 1.15rem; background: var(--o-tint); border-radius: .2rem; }
.ocd .track i { position: absolute; left: 0; display: block; border-radius: .15rem; }
.ocd .track i.base { top: .1rem; height: .35rem; background: var(--o-base); }
.ocd .track i.ours { top: .6rem; height: .42rem; background: var(--o-ours); opacity: .55; }
.ocd .track b { position: absolute; top: .62rem; width: .38rem; height: .38rem; margin-left: -.19rem;
  border-radius: 50%; background: var(--o-draw); border: 1px solid var(--o-paper); }
.ocd ol.chips, .ocd ul.picks, .ocd ul.keys { list-style: none; padding: 0; margin: 0; display: flex;
  flex-wrap: wrap; gap: .4rem; }
.ocd .chips li { background: var(--o-tint); border-radius: .4rem; padding: .25rem .6rem; margin: 0; }
.ocd .picks li { margin: 0; }
.ocd button { font: inherit; color: var(--o-ink); background: var(--o-paper); cursor: pointer;
  border: 1px solid var(--o-line); border-radius: .4rem; padding: .25rem .55rem; min-height: 2rem; }
.ocd button:hover { border-color: var(--o-ours); }
.ocd button:focus-visible, #canvas button:focus-visible, .ocd [tabindex]:focus-visible,
#canvas canvas:focus-visible { outline: 3px solid var(--o-ours); outline-offset: 2px; }
.ocd .picks button { display: grid; justify-items: center; gap: .15rem; padding: .25rem; font-size: .8rem;
  min-width: 2.6rem; }
.ocd .picks img, .ocd .thumb img { width: 2.6rem; height: 2.6rem; border-radius: .2rem; margin: 0; }
.ocd img.sharp { image-rendering: pixelated; }
.ocd .better { color: var(--o-truth); } .ocd .worse { color: var(--o-error); }
.ocd .same { color: var(--o-soft); }
.ocd .figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; }
.ocd .small-figures .figures { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
.ocd figure { margin: 0; } .ocd figure img { width: 100%; border-radius: .3rem; margin: 0; }
.ocd figcaption { font-size: .84rem; color: var(--o-soft); }
.ocd .strip { position: relative; height: 4rem; background: var(--o-tint); border-radius: .4rem; }
.ocd .strip i.interval { position: absolute; top: 1.5rem; height: 1rem; background: var(--o-ours);
  opacity: .18; border-radius: .2rem; }
.ocd .strip i.l50 { opacity: .35; top: 1.25rem; height: 1.5rem; }
.ocd .strip b.draw { position: absolute; top: 1.7rem; width: .6rem; height: .6rem; margin-left: -.3rem;
  border-radius: 50%; background: var(--o-draw); border: 1px solid var(--o-paper); opacity: .85; }
.ocd .strip b.mark { position: absolute; top: .35rem; bottom: .35rem; width: .22rem; margin-left: -.11rem;
  border-radius: .1rem; background: var(--o-base); }
.ocd .strip b.mark.ours { background: var(--o-ours); } .ocd .strip b.mark.truth { background: var(--o-truth); }
.ocd .ends { display: flex; justify-content: space-between; font-size: .84rem; color: var(--o-soft); }
.ocd .key { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .35rem;
  background: var(--o-base); } .ocd .key.ours { background: var(--o-ours); }
.ocd .key.truth { background: var(--o-truth); }
.ocd .key.draw { background: var(--o-draw); border-radius: 50%; }
.ocd .keys li { margin: 0 .8rem 0 0; font-size: .86rem; }
.ocd audio { width: 13rem; height: 2.2rem; display: block; }
.ocd .heard { display: grid; gap: .25rem; width: 13rem; }
.ocd img.spectrogram { width: 13rem; height: 4.5rem; border-radius: .3rem; margin: 0; }
.ocd .report table { white-space: nowrap; }
#canvas .drawing { max-width: 20rem; }
#canvas .board { position: relative; aspect-ratio: var(--ratio); border-radius: .4rem; overflow: hidden;
  border: 1px solid var(--o-line); }
#canvas canvas { width: 100%; height: 100%; display: block; image-rendering: pixelated; cursor: crosshair;
  touch-action: none; }
#canvas .cursor { position: absolute; box-shadow: inset 0 0 0 3px #ffb000; pointer-events: none; }
#canvas .note { font-size: .86rem; color: var(--o-soft); margin: .4rem 0; }
#canvas button { font: inherit; color: var(--o-ink); background: var(--o-paper); cursor: pointer;
  border: 1px solid var(--o-line); border-radius: .4rem; padding: .25rem .8rem; min-height: 2rem; }
"""


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
