"""Components that misbehave as soon as they are loaded. Only the runner of a test imports this."""

import os
import signal
import time

from haystack import component


@component
class Loaded:
    """Does what `how` says in its constructor."""

    def __init__(self, how: str):
        if how == "sleep":
            time.sleep(60)
        elif how == "hog":
            self.hoard = [bytes(64 * 1024 * 1024) for _ in range(64)]  # untouched: it takes no time
        elif how == "die":
            os.kill(os.getpid(), signal.SIGKILL)

    @component.output_types(done=bool)
    def run(self, value: int):
        return {"done": True}
