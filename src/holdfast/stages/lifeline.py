"""A process that ends when the one that started it is gone, killed or not."""

import os
import threading


def end_with_input() -> None:
    """From now on end this process as soon as its standard input does.

    The input is to be a pipe that nothing is written to and that the other process holds open.
    """

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
