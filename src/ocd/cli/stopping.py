"""Ctrl-C and SIGTERM end the command within a second, also in the middle of a long pass.

Python looks at signals between two of its own instructions, and a backward pass of a large network is
one of these. So a thread hears them too, and ends the process where Python has not looked up in time.
Nothing is lost by that: files are written aside and renamed, as for a process that is killed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 0.8
"""Seconds that Python has to look at a signal."""
STOPPED = "ocd: stopped; the same command goes on from here"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_code(number: int) -> int:
    """Of a command that a signal has ended, as shells have it."""
    return 128 + number


@contextmanager
def ending_within_a_second() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, SIGTERM SystemExit, or the process ends. Signals have their
    former meaning again afterwards."""
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        heard.set()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(exit_code(number))

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, heard), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)  # ends the thread


def _watch(reader: int, heard: threading.Event) -> None:
    """End the process where a signal came and is not handled in time."""
    with open(reader, "rb", buffering=0) as signals:
        while came := signals.read(1):
            if came[0] in SIGNALS and not heard.wait(PATIENCE):
                os.write(2, f"\n{STOPPED}\n".encode())
                os._exit(exit_code(came[0]))
