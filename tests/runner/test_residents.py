"""Runs that share a process, where a definition is kept warm: what they share, and what they must never."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runner.conftest import OURS, Runner, alive, follow, pipeline, run_request, until
from workflows.engine import client, sharing
from workflows.engine import config as engine_config
from workflows.engine.config import Config

ROOT = Path(__file__).parents[2]

COUNTER = pipeline({"it": "Counter"})


def warm(runner, text: str, data: dict, **changes) -> dict:
    """The outcome of a warm run."""
    return follow(runner.start(text, {"it": data}, warm=True, **changes))[-1]


def counted(runner, text: str = COUNTER, **changes) -> dict:
    outcome = warm(runner, text, {}, **changes)
    assert outcome["kind"] == "result", outcome
    return outcome["result"]["it"]


def begun(runner, text: str, data: dict, **changes) -> client.Run:
    """A warm run whose component is at work."""
    run = runner.start(text, {"it": data}, warm=True, **changes)
    follow(run, kind="step_started")
    return run


@pytest.fixture(autouse=True)
def no_residents(runner):
    """Each test begins and ends without any."""
    yield
    for pid in runner.children():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid:  # others are at work to remove a folder
                os.kill(pid, signal.SIGKILL)
    assert until(lambda: not runner.children() and not runner.scratch())


@pytest.fixture
def deaf():
    """A port that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_the_next_run_finds_process_thread_and_pipeline_of_the_last(runner):
    first, second = counted(runner), counted(runner)

    assert (first["count"], second["count"]) == (1, 2)
    assert (first["process"], first["thread"]) == (second["process"], second["thread"])


def test_runs_at_once_have_each_a_pipeline_of_their_own(runner):
    runs = [runner.start(COUNTER, {"it": {"seconds": 0.5}}, warm=True) for _ in range(20)]

    results = [follow(run)[-1]["result"]["it"] for run in runs]

    assert {result["count"] for result in results} == {1}
    assert len({result["process"] for result in results}) == 1
    assert len({result["thread"] for result in results}) == 20


@pytest.mark.parametrize("data", [{"seconds": 0.003}, {"computing": 0.01}])
def test_runs_that_come_together_and_are_short_or_compute_take_turns_in_few_threads(runner, data):
    resident = counted(runner)["process"]
    os.kill(resident, signal.SIGSTOP)  # so that all are there when it looks
    runs = [runner.start(COUNTER, {"it": data}, warm=True) for _ in range(40)]
    time.sleep(0.3)
    os.kill(resident, signal.SIGCONT)

    results = [follow(run)[-1]["result"]["it"] for run in runs]

    assert {result["process"] for result in results} == {resident}
    assert len({result["thread"] for result in results}) <= 4


def test_runs_that_compute_take_turns_however_long_the_last_of_them_wait(runner):
    runs = [runner.start(COUNTER, {"it": {"computing": 0.015}}, warm=True) for _ in range(120)]

    results = [follow(run)[-1]["result"]["it"] for run in runs]

    assert len({result["thread"] for result in results}) <= 4


def test_runs_that_have_to_wait_for_the_processor_are_not_taken_for_idle(runner):
    resident = counted(runner)["process"]
    processor = {min(os.sched_getaffinity(0))}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        slots = [int(thread) for thread in os.listdir(f"/proc/{resident}/task") if int(thread) != resident]
        for pid in [*(other.pid for other in others), *slots]:
            os.sched_setaffinity(pid, processor)
        runs = [runner.start(COUNTER, {"it": {"computing": 0.002}}, warm=True) for _ in range(100)]
        results = [follow(run)[-1]["result"]["it"] for run in runs]
    finally:
        for other in others:
            other.kill()
            other.wait()

    assert len({result["thread"] for result in results if result["process"] == resident}) <= 4


def test_runs_that_leave_time_to_spare_do_not_take_turns_for_ever(runner):
    runs = [
        runner.start(COUNTER, {"it": {"seconds": 0.003, "computing": 0.001, "times": 10}}, warm=True) for _ in range(60)
    ]

    results = [follow(run)[-1]["result"]["it"] for run in runs]

    assert len({result["thread"] for result in results}) > 1


def processes(runner, data: dict) -> set[int]:
    """Where twenty runs were that came at once, and twenty more that came when half of those were over."""
    runs = [runner.start(COUNTER, {"it": data}, warm=True) for _ in range(20)]
    results = [follow(run)[-1] for run in runs[:10]]
    more = [runner.start(COUNTER, {"it": data}, warm=True) for _ in range(20)]
    results += [follow(run)[-1] for run in [*runs[10:], *more]]
    return {result["result"]["it"]["process"] for result in results}


def test_runs_that_compute_have_a_process_for_each_processor_and_those_that_wait_share_one(runner):
    assert len(processes(runner, {"seconds": 0.2})) == 1
    assert len(processes(runner, {"computing": 0.02})) == min(len(os.sched_getaffinity(0)), 2)


def test_runs_that_compute_have_one_process_where_there_is_room_for_no_other(runner):
    other = begun(runner, pipeline({"it": ("Counter", {"label": "other"})}), {"seconds": 3})

    assert len(processes(runner, {"computing": 0.02})) == 1
    assert follow(other)[-1]["kind"] == "result"


def test_a_step_has_finished_before_the_next_one_runs(runner):
    text = pipeline({"first": "Sleeper", "second": "Sleeper"})
    run = runner.start(text, {"first": {"seconds": 0.0}, "second": {"seconds": 30.0}}, warm=True)

    messages = follow(run, kind="step_finished")

    assert run.outcome is None
    told = [(message["kind"], message["position"]) for message in messages]
    assert told == [("step_started", 1), ("step_finished", 1), ("step_started", 2)]
    run.kill()


def test_runs_at_once_tell_each_their_own_steps_and_tokens(runner):
    text = pipeline({"it": "Streamer", "echo": "Gather"}, ["it.replies -> echo.texts"])
    texts = [letter * 200 for letter in "甲乙丙丁戊己庚辛"]
    runs = [runner.start(text, {"it": {"text": each}}, warm=True, streams=["it"]) for each in texts]

    for run, said in zip(runs, texts, strict=True):
        messages = follow(run)
        assert "".join(m["text"] for m in messages if m["kind"] == "token") == said
        steps = [(m["position"], m["component"]) for m in messages if m["kind"] == "step_started"]
        assert steps == [(1, "it"), (2, "echo")]
        assert messages[-1]["kind"] == "result"


def test_a_cancelled_run_that_waits_for_an_answer_leaves_the_others_alone(runner, deaf):
    changes = {"hosts": [f"127.0.0.1:{deaf}"]}
    text = pipeline({"it": "Waits"})
    neighbour, cancelled = (begun(runner, text, {"port": deaf}, **changes) for _ in range(2))
    [resident] = runner.children()

    cancelled.stop()

    assert follow(cancelled)[-1]["code"] == "stopped"
    assert alive(resident)
    neighbour.stop()
    assert follow(neighbour)[-1]["code"] == "stopped"
    assert alive(resident)


def test_a_cancelled_run_that_computes_leaves_the_others_alone(runner):
    text = pipeline({"it": "Busy"})
    neighbour, cancelled = begun(runner, text, {"seconds": 4}), begun(runner, text, {"seconds": 60})

    cancelled.stop()

    assert follow(cancelled)[-1]["code"] == "stopped"
    assert follow(neighbour)[-1] == {"kind": "result", "result": {"it": {"never": ""}}}


def test_a_run_that_cannot_be_stopped_is_ended_with_its_resident_and_others_are_told(runner):
    text = pipeline({"it": "Stubborn"})
    innocent, guilty = (runner.start(text, {"it": {"seconds": 60}}, warm=True, streams=["it"]) for _ in range(2))
    for run in (innocent, guilty):
        follow(run, kind="token")

    guilty.stop()

    assert follow(guilty)[-1]["code"] == "stopped"
    assert follow(innocent)[-1]["code"] == "resident_ended"
    assert until(lambda: not runner.children())


@pytest.mark.parametrize("cls", ["Busy", "BusyThreads", "Sleeper"])
def test_a_run_over_its_time_is_ended(runner, cls):
    assert warm(runner, pipeline({"it": cls}), {"seconds": 60}, seconds=1)["code"] == "timed_out"


def test_a_run_that_holds_the_interpreter_is_ended_at_its_time_and_others_are_told(runner):
    text = pipeline({"it": "BusyInC"})
    guilty = begun(runner, text, {"exponent": 200_000_000}, seconds=1)
    time.sleep(0.2)  # it has said that it begins; the interpreter was another's for that
    innocent = runner.start(text, {"it": {"exponent": 3}}, warm=True, seconds=60)

    assert follow(guilty)[-1]["code"] == "timed_out"
    assert follow(innocent)[-1]["code"] == "resident_ended"


def test_a_run_whose_client_goes_away_ends_and_leaves_the_others_alone(runner):
    text = pipeline({"it": "Busy"})
    neighbour, left = begun(runner, text, {"seconds": 3}), begun(runner, text, {"seconds": 60})
    [resident] = runner.children()

    left.kill()

    assert follow(neighbour)[-1]["kind"] == "result"
    assert alive(resident)
    assert until(lambda: warm(runner, text, {"seconds": 0})["kind"] == "result")


def test_a_client_that_reads_nothing_is_left_without_harm_to_the_others(runner, stopped_at_end):
    text = pipeline({"it": "Streamer"})
    deaf = runner.start(text, {"it": {"text": "长" * 300_000}}, warm=True, streams=["it"], seconds=1)
    stopped_at_end.append(deaf)
    assert until(lambda: runner.children())
    [resident] = runner.children()

    assert not until(lambda: not alive(resident), 4)  # the run's time, and the grace that one has which hangs

    assert warm(runner, text, {"text": "好"}, streams=["it"])["kind"] == "result"
    assert runner.children() == [resident]


def test_a_client_that_does_not_take_its_result_is_left_without_harm_to_the_others(runner, stopped_at_end):
    text = pipeline({"it": "Huge"})
    changes = {"result_bytes": 10**8, "seconds": 1}
    stopped_at_end.append(runner.start(text, {"it": {"megabytes": 8}}, warm=True, **changes))
    assert until(lambda: runner.children())
    [resident] = runner.children()

    assert not until(lambda: not alive(resident), 4)

    assert warm(runner, text, {"megabytes": 1}, **changes)["kind"] == "result"
    assert runner.children() == [resident]


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"ended": 999, "tired": false}', '{"ended": [1], "tired": 1}'])
def test_a_component_that_speaks_to_the_server_ends_its_resident_and_no_more(runner, text):
    server = runner.pid

    assert warm(runner, pipeline({"it": "Scribbler"}), {"text": text})["code"] == "resident_ended"

    assert runner.pid == server
    assert counted(runner)["count"] == 1


@pytest.mark.parametrize("how", ["segfault", "os._exit", "77", "alarm"])
def test_runs_whose_resident_crashes_are_all_told_so_whoever_it_was(runner, how):
    sleeper = pipeline({"it": "Sleeper", "raiser": "Raiser"})
    innocent = runner.start(sleeper, {"it": {"seconds": 60}, "raiser": {"how": "x"}}, warm=True)
    follow(innocent, kind="step_started")

    guilty = runner.start(sleeper, {"it": {"seconds": 0}, "raiser": {"how": how}}, warm=True)

    assert follow(guilty)[-1]["code"] == "resident_ended"
    assert follow(innocent)[-1]["code"] == "resident_ended"


def test_an_error_fails_the_run_alone_and_its_pipeline_is_not_used_again(runner):
    text = pipeline({"it": "Counter", "raiser": "Raiser"})

    def one(how):
        return follow(runner.start(text, {"it": {}, "raiser": {"how": how}}, warm=True))[-1]

    assert one("x")["result"]["it"]["count"] == 1
    assert one("value")["code"] == "component_failed"
    assert one("x")["result"]["it"]["count"] == 1
    assert len(runner.children()) == 1


def test_memory_that_runs_out_puts_the_run_back_and_another_resident_takes_over(runner):
    text = pipeline({"it": "MemoryHog"})
    assert warm(runner, text, {"megabytes": 1}, memory_mb=128)["kind"] == "result"
    [resident] = runner.children()

    assert warm(runner, text, {"megabytes": 400}, memory_mb=128)["code"] == "resident_ended"

    assert until(lambda: not alive(resident))
    assert warm(runner, text, {"megabytes": 1}, memory_mb=128)["kind"] == "result"


def test_a_resident_that_has_grown_gives_way_to_another(runner):
    text = pipeline({"it": "Keeper"})
    said = [warm(runner, text, {"megabytes": 60}, memory_mb=256)["result"]["it"] for _ in range(6)]

    assert len({each["process"] for each in said}) > 1
    assert max(each["kept"] for each in said) < 6


def test_what_differs_in_anything_but_data_never_shares_a_process(runner, tmp_path):
    """Another text, another workspace, another secret, another policy."""
    others = [
        {"documents_dir": str(tmp_path / "one")},
        {"documents_dir": str(tmp_path / "two")},
        {"secrets": {"A_KEY": "sk-one-of-them"}},
        {"hosts": ["127.0.0.1:9"]},
        {"memory_mb": 512},
    ]
    processes = [counted(runner)["process"], counted(runner, pipeline({"it": ("Counter", {"label": "b"})}))["process"]]

    for changes in others:
        processes.append(counted(runner, **changes)["process"])

    assert len(set(processes)) == len(processes)


def test_a_request_that_is_handed_to_the_wrong_resident_is_refused(runner, tmp_path):
    """The key is only the server's way to find a resident: what it may do for whom, it looks at by itself."""
    counted(runner)
    right = sharing.Settings(run_request(COUNTER)).key
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(runner.config.socket)
        asked.settimeout(10)
        wrong = run_request(COUNTER, {"it": {}}, documents_dir=str(tmp_path))
        asked.sendall(f"warm {right} 30\n{json.dumps(wrong)}\n".encode())
        answer = asked.makefile("rb").read()

    assert b'"bad_request"' in answer


def test_the_least_recently_used_goes_when_there_is_no_room(runner):
    texts = [pipeline({"it": ("Counter", {"label": label})}) for label in "abc"]
    first, second = counted(runner, texts[0]), counted(runner, texts[1])
    assert counted(runner, texts[0])["count"] == 2

    counted(runner, texts[2])  # the runner of these tests keeps two

    assert until(lambda: not alive(second["process"]))
    assert alive(first["process"])
    assert counted(runner, texts[0])["count"] == 3


def test_where_every_resident_is_at_work_a_run_has_a_child_of_its_own(runner):
    busy = [begun(runner, pipeline({"it": ("Counter", {"label": label})}), {"seconds": 3}) for label in "ab"]

    own = counted(runner)

    assert own["count"] == 1
    assert until(lambda: not alive(own["process"]))
    assert [follow(run)[-1]["kind"] for run in busy] == ["result", "result"]


def test_a_refused_call_is_told_of_the_run_that_made_it_alone(runner, deaf):
    text = pipeline({"it": "Caller"})
    assert warm(runner, text, {"host": "127.0.0.1", "port": deaf, "by": "connect"})["code"] == "egress_refused"

    other = pipeline({"it": "Caller"})
    outcome = warm(runner, other, {"host": "127.0.0.1", "port": deaf, "by": "nonsense"})

    assert outcome["code"] == "component_failed"


def test_a_resident_that_is_killed_leaves_nothing_and_another_takes_over(runner):
    counted(runner)
    [resident] = runner.children()

    os.kill(resident, signal.SIGKILL)

    assert until(lambda: not runner.scratch())
    assert counted(runner)["count"] == 1


SMALL = """
from workflows.engine.runner import server
from workflows.engine.runner import resident, residents

resident.RUNS_IN_ALL, residents.RUNS_AT_ONCE, residents._IDLE_SECONDS = 3, 2, 1.0
server.main()
"""


# Where the system has no process to give for a second resident.
POOR = """
from workflows.engine.runner import server

fork = server.Server.fork

def poor(self, *arguments, resident=False, **options):
    if resident and len(self.residents):
        raise BlockingIOError("no more processes")
    return fork(self, *arguments, resident=resident, **options)

server.Server.fork = poor
server.main()
"""


@pytest.fixture
def small(tmp_path):
    """A runner whose residents take three runs in all and two at once, and are idle for a second."""
    with started(tmp_path, SMALL) as runner:
        yield runner


@contextlib.contextmanager
def started(tmp_path, code: str):
    """A runner of its own, which may have two residents."""
    before = engine_config._current
    config = Config(data_dir=tmp_path, socket=str(tmp_path / "runner.sock"), components=OURS, residents=2)
    engine_config.configure(config)
    command = [sys.executable, "-c", code, "--socket", config.socket, "--residents", "2"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log)
    assert until(lambda: client.runner_status() is not None, 60)
    try:
        yield Runner(config, process, tmp_path / "log")
    finally:
        process.terminate()
        process.wait()
        engine_config._current = before


def test_a_resident_ends_after_so_many_runs_in_all(small):
    assert [counted(small)["count"] for _ in range(5)] == [1, 2, 3, 1, 2]


def test_residents_that_only_end_their_last_runs_leave_room_for_others(small):
    """With many runs under way each would else have a child of its own until the last of those is over."""
    texts = [pipeline({"it": ("Counter", {"label": label})}) for label in "ab"]
    long = [begun(small, text, {"seconds": 4}) for text in texts]
    for text in texts * 3:
        counted(small, text)

    of_others = [counted(small, text) for text in texts * 2]

    assert [found["count"] for found in of_others] == [1, 1, 2, 2]
    assert [follow(run)[-1]["kind"] for run in long] == ["result", "result"]
    assert until(lambda: not small.children())


def test_a_run_beyond_so_many_at_once_has_a_child_of_its_own(small):
    runs = [begun(small, COUNTER, {"seconds": 2}) for _ in range(3)]

    first, second, own = [follow(run)[-1]["result"]["it"]["process"] for run in runs]

    assert first == second != own


def test_an_idle_resident_ends_after_a_while(small):
    process = counted(small)["process"]

    assert until(lambda: not alive(process))
    assert until(lambda: not small.scratch())


def test_runs_that_compute_share_one_process_where_another_cannot_be_started(tmp_path):
    with started(tmp_path, POOR) as poor:
        assert len(processes(poor, {"computing": 0.02})) == 1
