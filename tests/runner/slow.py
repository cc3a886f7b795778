"""A component whose module is imported no sooner than a test lets it: when there is a file `go` beside the socket."""

import sys
import time
from pathlib import Path

from haystack import component

if "--socket" in sys.argv:  # in a runner
    _go = Path(sys.argv[sys.argv.index("--socket") + 1]).with_name("go")
    _until = time.monotonic() + 60
    while not _go.exists() and time.monotonic() < _until:
        time.sleep(0.01)


@component
class SlowToImport:
    """Says whether the process that it is in was forked by one that had rehearsed."""

    @component.output_types(is_rehearsed=bool)
    def run(self):
        return {"is_rehearsed": "workflows.engine.runner.rehearsal" in sys.modules}
