"""What a child of the runner costs: from the request to its first and its last word, beside a fresh interpreter.

python -m benchmarks.children [--runs 100]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.jobs import DATA, PIPELINE
from workflows import engine

COLD = """
from haystack import Pipeline
Pipeline.loads({text!r}).run({data!r})
"""


def milliseconds(action, runs: int) -> list[float]:
    waits = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        waits.append((time.perf_counter() - start) * 1000)
    return sorted(waits)


def say(name: str, waits: list[float]) -> None:
    print(f"{name:44} p50 {statistics.median(waits):8.1f} ms   p99 {waits[int(len(waits) * 0.99) - 1]:8.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine.configure(engine.Config(data_dir=Path(folder), socket=f"{folder}/runner.sock"))
        keeper = engine.RunnerKeeper()
        start = time.perf_counter()
        assert keeper.wait_until_ready(60)
        print(f"{'start of the runner, once':44} {(time.perf_counter() - start) * 1000:12.0f} ms")
        description = engine.check(PIPELINE).description

        def begin():
            return engine.start_run(
                PIPELINE, description, engine.accept(description, DATA),
                seconds=60, documents_dir=Path(folder), labels={},
            )  # fmt: skip

        def first_word():
            run = begin()
            run.wait(60)
            run.receive()
            run.kill()

        def answer():
            run = begin()
            while run.outcome is None:
                run.wait(60)
                run.receive()
            assert run.outcome["kind"] == "result", run.outcome
            run.kill()

        milliseconds(answer, 5)
        say("run: to the first step's message", milliseconds(first_word, options.runs))
        say("run: to the result", milliseconds(answer, options.runs))
        say("check of a definition, uncached", milliseconds(lambda: engine.check(PIPELINE), options.runs))
        keeper.stop()
    cold = [sys.executable, "-c", COLD.format(text=PIPELINE, data={"prompt": DATA})]
    environment = {"HAYSTACK_TELEMETRY_ENABLED": "false", "PATH": ""}
    say(
        "the same in a fresh interpreter",
        milliseconds(lambda: subprocess.run(cold, check=True, env=environment), max(3, options.runs // 20)),
    )


if __name__ == "__main__":
    main()
