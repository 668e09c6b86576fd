"""Who wants to hear of a fit: anything that is called with the name of an event and its values.

    ocd.fit(data, callbacks=[TensorBoard("logs/mine"), lambda event, values: ...])

The events of a fit, which also stand in `metrics.jsonl` of its workdir:

| event | values |
| --- | --- |
| `train` | `step`, the losses of this step by name, `lr`; every few steps |
| `validate` | `step`, `loss`: of the averaged network on held-out examples |
| `note` | `text`: a decision, and why |
| `skipped` | `step`, `examples`: left out, since their loss or delta is not finite |

All have `seed` and `role`: which of several fits of a run it is. A callback that raises stops the fit,
which goes on from there with the same workdir.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

from ocd.errors import OCDError, install


class Callback(Protocol):
    """Is called in the process that fits, between two steps."""

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        """`event`: its name; `values`: a new dict, of numbers, texts and lists."""


def print_notes(event: str, values: dict[str, Any]) -> None:
    """The decisions of a fit on stderr as they are made: what `verbose=True` does."""
    if event == "note":
        print(values["text"], file=sys.stderr, flush=True)


def _numbers(event: str, values: dict[str, Any]) -> dict[str, float]:
    """What can be drawn of an event, by names such as train/loss."""
    shown = {name: value for name, value in values.items() if name not in ("step", "seed", "role")}
    return {
        f"{event}/{name}": float(value)
        for name, value in shown.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


class TensorBoard:
    """Curves of losses and the learning rate, and notes as texts, in a folder that TensorBoard reads.

    `name`: of the run in that folder, where several fits share it. Needs the extra `tensorboard`. What
    is written is there for TensorBoard within `flush_seconds`, and at once after `close()`.
    """

    def __init__(self, folder: str | Path, name: str = "", flush_seconds: int = 10) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise OCDError(
                f"TensorBoard is not installed ({error}): {install('tensorboard')}"
            ) from None
        self._writer = SummaryWriter(str(Path(folder) / name), flush_secs=flush_seconds)
        self._notes = 0

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        if event == "note":
            self._writer.add_text("notes", values["text"], self._notes)
            self._notes += 1
        for name, number in _numbers(event, values).items():
            self._writer.add_scalar(name, number, values.get("step"))

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Trackio:
    """The same curves in trackio, on this machine or in a Space of the hub.

    `options` are those of `trackio.init` (space_id, group, config and so on). Needs the extra
    `trackio`. `close()` ends trackio's run.
    """

    def __init__(self, project: str, name: str | None = None, **options: Any) -> None:
        try:
            import trackio
        except ImportError as error:
            raise OCDError(f"trackio is not installed ({error}): {install('trackio')}") from None
        self._run = trackio.init(project=project, name=name, **options)

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        if numbers := _numbers(event, values):
            self._run.log(numbers, step=values.get("step"))

    def close(self) -> None:
        """End the run; what is left is written."""
        self._run.finish()

    def __enter__(self) -> Trackio:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
