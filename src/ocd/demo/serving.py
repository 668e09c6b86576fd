"""A server for one page, on this machine alone unless said otherwise.

serve(Path("runs/digits"), Address(port=7860))
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ocd.demo.style import CSS, make_theme
from ocd.errors import OCDError

# Read by Gradio and the hub's client when they are imported: nothing is told to anybody.
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Address:
    """`host`: 127.0.0.1 for this machine alone, 0.0.0.0 for all that reach it. `port`: the one that is
    tried. `user`: NAME:PASSWORD that a visitor has to give; None for no such question."""

    host: str = "127.0.0.1"
    port: int = 7860
    user: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise OCDError(f"port is {self.port}: it must be from 1 to 65535")
        if self.user is not None and not all(self.user.partition(":")):
            raise OCDError("user must be NAME:PASSWORD")

    def check_free(self) -> None:
        """Raises OCDError where another program has the port, or the host is none of this machine."""
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((self.host, self.port))
            except OSError as error:
                raise OCDError(
                    f"{self.host}:{self.port} cannot be used ({error.strerror}): choose another --port"
                ) from error


def serve(
    root: Path,
    address: Address,
    seed: int | None = None,
    ready: Callable[[str], None] | None = None,
    block: bool = True,
) -> Any:
    """Show a run until the process is stopped. `seed`: one of the run's, the first where it is None.
    `ready`: is told the page's address. `block`: whether to wait; else the running page is returned,
    whose `close()` ends it.

    Raises OCDError where Gradio is not installed, the port is taken, or the run cannot be shown.
    """
    if find_spec("gradio") is None:
        raise OCDError("the page needs Gradio: pip install -c constraints.txt '.[demo]'")
    address.check_free()
    os.environ.update(QUIET)
    from ocd.demo.page import Page
    from ocd.demo.shown import ShownRun

    page = Page(ShownRun.open(root, seed))
    name, _, password = (address.user or "").partition(":")
    _, local, _ = page.blocks.launch(
        server_name=address.host,
        server_port=address.port,
        auth=(name, password) if address.user else None,
        theme=make_theme(),
        css=CSS,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        share=False,
        ssr_mode=False,
        quiet=True,
        inbrowser=False,
        prevent_thread_lock=True,
    )
    if ready is not None:
        ready(local)
    if block:
        page.blocks.block_thread()
    return page.blocks
