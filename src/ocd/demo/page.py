"""The page: try an input, look at test examples, read the report.

    page = Page(ShownRun.open(Path("runs/digits")))
    page.blocks.launch()

The page knows no task. What a person can set is the panel's (ocd.demo.panels), by the kind of input;
how an answer looks is decided by what the outputs are (ocd.demo.answering). In between there is one
`Question` a visitor: every event makes a new one or asks the old one again, and each answer is made of
it alone, so that two visitors do not see each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ocd.demo.answering import as_html
from ocd.demo.lists import chosen_list, example_strip, example_table
from ocd.demo.panels import Panel, make_panel
from ocd.demo.pieces import line, section
from ocd.demo.reading import heading, report
from ocd.demo.shown import Question, ShownRun
from ocd.errors import OCDError
from ocd.tasks import NewRows

MOST_DRAWS = 50
STRIP = 8
"""Test examples in a strip below an answer."""
UPLOADS = (600, 3600)
"""Every ten minutes, uploads that are older than an hour are removed; all of them at the end."""
NONE = {
    "Most uncertain": "`ocd predict` has to be run first",
    "Changed most": "OCD's ensemble has the base's loss on each",
}
"""Why a list has no test examples, where their data are there."""
NOTHING_YET = "Nothing is asked yet."


class Page:
    """A page for one run; `blocks` is what Gradio serves.

    `lists`: test examples to look at, by title. `question`, `answer`, `draws`, `seed`, `number`: the
    components that hold what is asked, what is said, and with how many draws, which seed and which
    test example; `number` is None where there are no test examples.
    """

    def __init__(self, shown: ShownRun) -> None:
        """Raises OCDError where the run's inputs are of a kind that no panel is for."""
        import gradio as gr

        self.shown, self.panel = shown, make_panel(shown)
        self.lists = {
            "Most uncertain": shown.most_uncertain(),
            "Changed most": shown.most_changed(),
        }
        self.blocks = gr.Blocks(
            title=f"OCD: {shown.task}", analytics_enabled=False, delete_cache=UPLOADS
        )
        with self.blocks:
            gr.HTML(heading(shown), elem_classes="ocd")
            with gr.Tabs() as self.tabs:
                with gr.Tab("Try", id="try"):
                    self._try()
                with gr.Tab("Test examples", id="tests"):
                    self._tests()
                with gr.Tab("Report", id="report"):
                    gr.HTML(report(shown), elem_classes="ocd")
            self._wire()

    def _try(self) -> None:
        """The first tab: the input on the left, the answer on the right, test examples below."""
        import gradio as gr

        shown = self.shown
        start = self._first()
        self.question = gr.State(start)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                gr.HTML("<h2>Your input</h2>", elem_classes="ocd")
                self.panel.build(shown)
                with gr.Group():
                    self.draws = gr.Slider(
                        1, max(MOST_DRAWS, shown.num_draws), value=shown.num_draws, step=1,
                        label="Draws", elem_id="draws",
                    )  # fmt: skip
                    self.seed = gr.Number(0, label="Seed of the draws", precision=0)
                self.number = None
                if len(shown.test):
                    self.number = gr.Number(
                        None if start is None else start.place, precision=0, elem_id="number",
                        label=f"Test example, 0 to {len(shown.test) - 1}",
                    )  # fmt: skip
                if shown.missing:
                    gr.HTML(line(f"No test examples to pick: {shown.missing}"), elem_classes="ocd")
            with gr.Column(scale=3, min_width=300):
                self.answer = gr.HTML(line(NOTHING_YET), elem_id="answer", elem_classes="ocd")
        with gr.Row():
            self.strips = [
                chosen_list(example_strip(self, name, listed[:STRIP]), name)
                for name, listed in self.lists.items()
                if listed
            ]

    def _tests(self) -> None:
        """The second tab: each list with scores and losses, or why it is empty."""
        import gradio as gr

        self.tables = []
        for name, listed in self.lists.items():
            if listed:
                self.tables.append(chosen_list(example_table(self, name, listed), f"{name}, table"))
            else:
                why = self.shown.missing or NONE[name]
                gr.HTML(section(name, line(f"None: {why}.")), elem_classes="ocd")

    def _first(self) -> Question | None:
        """What is shown at the start: the most uncertain test example."""
        listed = self.lists["Most uncertain"]
        if listed:
            return self.shown.question(listed[0].place)
        return self.shown.question(0) if len(self.shown.test) else None

    def _wire(self) -> None:
        """What happens when: the panel, the draws and their seed, the lists, and the page's opening.

        While an answer is being made, of further events the last one alone is kept: a slider that is
        moved asks for no more answers than can be made. No event is offered to programs.
        """
        self.panel.listen(self._when)
        answering = [self.question, self.draws, self.seed]
        outputs = [self.question, self.answer, *self.panel.components]
        for component in (self.draws.input, self.seed.input):
            component(
                self.said, answering, self.answer, trigger_mode="always_last",
                show_progress="minimal", api_visibility="private",
            )  # fmt: skip
        if self.number is not None:
            self.number.input(
                self.picked, [self.number, self.draws, self.seed], outputs,
                trigger_mode="always_last", show_progress="minimal", api_visibility="private",
            )  # fmt: skip
        numbers = [] if self.number is None else [self.number]
        for chosen in [*self.strips, *self.tables]:
            chosen.select(
                self.chosen, [chosen, self.draws, self.seed], [*outputs, *numbers, self.tabs],
                show_progress="minimal", api_visibility="private",
            )  # fmt: skip
        self.blocks.load(
            self.start, [self.question, self.draws, self.seed], outputs[1:], api_visibility="private",
            show_progress="minimal",
        )  # fmt: skip

    def _when(
        self,
        event: Callable[..., Any],
        inputs: Sequence[Any],
        read: Callable[..., NewRows],
        shows: bool = False,
    ) -> None:
        """Answer a panel's event (ocd.demo.panels.Listen). A panel's own input is no test example: its
        number goes, and so does the right answer."""
        import gradio as gr

        numbers = [] if self.number is None else [self.number]

        def asked(draws: int, seed: int, *values: Any) -> list[Any]:
            try:
                question = Question(read(*values))
            except OCDError as error:
                nothing = [gr.skip() for _ in self.panel.components] if shows else []
                return [None, line(str(error), "error"), *(None for _ in numbers), *nothing]
            seen = self.panel.show(question) if shows else []
            answer = self.said(question, draws, seed)
            return [question, answer, *(None for _ in numbers), *seen]

        outputs = [self.question, self.answer, *numbers]
        event(
            asked, [self.draws, self.seed, *inputs],
            [*outputs, *(self.panel.components if shows else [])],
            trigger_mode="always_last", show_progress="minimal", api_visibility="private",
        )  # fmt: skip

    def said(self, question: Question | None, draws: int, seed: int) -> str:
        """The answer as HTML, or one line that says why there is none.

        `draws`: how many of them. `seed`: of their noise, the same for the same draws again; a field
        that was emptied is 0.
        """
        if question is None:
            return line(NOTHING_YET)
        try:
            return as_html(self.shown.answer(question, int(draws), int(seed or 0)), question)
        except OCDError as error:
            return line(str(error), "error")

    def picked(self, place: int | None, draws: int, seed: int) -> list[Any]:
        """A test example: question, answer, and what the panel shows of it. A number that none has is
        answered with one line."""
        import gradio as gr

        if place is None or not 0 <= place < len(self.shown.test):
            last = len(self.shown.test) - 1
            said = line(f"There is no test example {place}: choose one from 0 to {last}", "error")
            return [None, said, *(gr.skip() for _ in self.panel.components)]
        question = self.shown.question(int(place))
        return [question, self.said(question, draws, seed), *self.panel.show(question)]

    def chosen(self, place: int, draws: int, seed: int) -> list[Any]:
        """The same, from a list: its number is shown too, and the tab where it is answered."""
        import gradio as gr

        numbers = [] if self.number is None else [place]
        return [*self.picked(place, draws, seed), *numbers, gr.Tabs(selected="try")]

    def start(self, question: Question | None, draws: int, seed: int) -> list[Any]:
        """When the page is opened."""
        import gradio as gr

        if question is None:
            return [line(NOTHING_YET), *(gr.skip() for _ in self.panel.components)]
        return [self.said(question, draws, seed), *self.panel.show(question)]

    @property
    def kind(self) -> Panel:
        """The panel, for lists."""
        return self.panel
