"""django-q2's cluster, made safe to rely on.

Measured on django-q2 1.11: killing an idle worker or the monitor leaves a queue's lock held and the cluster dead for
ever; a dead sentinel leaves orphans that keep taking tasks; SIGTERM to the process group hangs. Here children die with
their parent, a death that may have left a lock held ends the whole pool so that a new one starts with fresh queues,
and a stop drains within a bound. The sweep, retention and the runner's keeper are in the main process, which outlives
its pools.
"""

import gc
import logging
import os
import signal
import time
from datetime import timedelta
from functools import partial

from django import db
from django.conf import settings
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.cluster import Cluster, Sentinel, get_mp_context
from django_q.conf import Conf
from django_q.scheduler import scheduler
from django_q.worker import worker as work_off_queue

from aiworkflow_project.db import statistics
from aiworkflow_project.processes import die_with_parent
from jobs import retention, worker
from jobs.models import Worker
from jobs.sweep import start_what_is_due, sweep
from workflows import engine

logger = logging.getLogger(__name__)

POISONED = 70  # exit code of a sentinel whose queues can't be trusted any more
RESTART_PAUSE = 2.0  # seconds between two pools
LOOK_SECONDS = 1.0  # between two looks for jobs that were to wait until now
PRUNE_EVERY = 3600.0  # seconds from one pass of retention to the next
PRUNE_ASK_AGAIN = 60.0  # seconds until a cluster that left it to another looks whether that one is still there
PRUNE_SLICE = 0.25  # seconds of a pass at a time: the loop has more urgent things to do
IDLE = -1  # what django-q2 writes into a worker's timer while the worker waits for a task


def serve() -> int:
    """Run pools of workers until SIGTERM or SIGINT, and return the exit code: 0 after a clean drain.

    RuntimeError when the queue or the database does not answer at the start; later they may be away for a while.
    """
    try:
        get_broker().ping()
    except Exception as error:  # whatever the broker's client raises
        raise RuntimeError(f"The queue at QUEUE_URL does not answer: {error}") from error
    cluster, caretaker = HardenedCluster(), Caretaker()
    # What has been imported stays: nobody need look through it for garbage, and its pages are shared with the workers.
    gc.collect()
    gc.freeze()
    try:
        while True:
            cluster.start()
            while cluster.sentinel.is_alive():
                caretaker.tick(stopping=cluster.stop_requested)
                cluster.sentinel.join(Conf.GUARD_CYCLE)
            if cluster.stop_requested:
                return 0 if cluster.sentinel.exitcode == 0 else 1
            logger.error("The worker pool ended (code %s); a new one starts.", cluster.sentinel.exitcode)
            time.sleep(RESTART_PAUSE)
    finally:
        caretaker.stop()


class Caretaker:
    """Looks after what is not the pool's own: the runner, jobs that were lost, and the row that says we are here."""

    def __init__(self):
        self.keeper = engine.RunnerKeeper()
        self.started_at = timezone.now()
        self.swept = 0.0
        self.looked = 0.0
        self.prune_at = 0.0
        self.pruning = iter(())

    def tick(self, *, stopping: bool) -> None:
        self.keeper.tick()
        now = time.monotonic()
        if not stopping and now - self.looked >= LOOK_SECONDS:
            self.looked = now
            _attempt(start_what_is_due, "Jobs whose time has come could not be let in.")
        if not stopping and now - self.swept >= settings.JOB_SWEEP_SECONDS:
            self.swept = now
            _attempt(sweep, "The sweep failed.")
            _attempt(self._report, "The worker could not report.")
        if not stopping:
            _attempt(self._prune, "Retention failed; it is tried again with the next pass.")

    def _prune(self) -> None:
        """Go on with a pass of retention for a moment; begin one when it is time and no other cluster is to."""
        now = time.monotonic()
        if now >= self.prune_at:
            is_ours = Worker.objects.eldest() == worker.name()
            self.prune_at = now + (PRUNE_EVERY if is_ours else PRUNE_ASK_AGAIN)
            if is_ours:
                self.pruning = retention.prune_site()
                statistics.gather()
        for _amounts in self.pruning:
            if time.monotonic() - now > PRUNE_SLICE:
                break

    def _report(self) -> None:
        Worker.objects.update_or_create(
            name=worker.name(),
            defaults={
                "processes": Conf.WORKERS,
                "places": Conf.WORKERS * settings.JOBS_PER_WORKER,
                "started_at": self.started_at,
                "last_seen_at": timezone.now(),
            },
        )
        Worker.objects.filter(last_seen_at__lt=timezone.now() - timedelta(days=1)).delete()

    def stop(self) -> None:
        _attempt(lambda: Worker.objects.filter(name=worker.name()).delete(), "The worker could not sign off.")
        self.keeper.stop()


class HardenedCluster(Cluster):
    stop_requested = False

    def start(self) -> int:
        main = os.getpid()
        context = get_mp_context()
        self.stop_event, self.start_event = context.Event(), context.Event()
        self.sentinel = context.Process(
            target=HardenedSentinel, args=(main, self.stop_event, self.start_event, self.cluster_id), name="sentinel"
        )
        db.connections.close_all()
        self.sentinel.start()
        while not self.start_event.is_set() and not self.stop_requested:
            if not self.sentinel.is_alive():
                raise RuntimeError(f"The worker pool did not start: its sentinel ended with {self.sentinel.exitcode}.")
            time.sleep(0.05)
        return self.pid

    def sig_handler(self, signum, frame):
        """Ask for a drain, and see to it that it ends. Must not wait: it runs inside whatever the signal broke into."""
        if self.stop_requested:
            return
        self.stop_requested = True
        worker.draining.value = 1
        signal.signal(signal.SIGALRM, self._out_of_patience)
        signal.alarm(settings.DRAIN_SECONDS + 10)
        if self.stop_event is not None:
            self.stop_event.set()

    def _out_of_patience(self, signum, frame):
        logger.error("The drain took too long: the worker pool is killed. Its jobs will be recovered.")
        if self.sentinel is not None and self.sentinel.is_alive():
            self.sentinel.kill()  # and with it, by PDEATHSIG, all of its children


class HardenedSentinel(Sentinel):
    def __init__(self, main: int, stop_event, start_event, cluster_id):
        die_with_parent(main)
        super().__init__(stop_event, start_event, cluster_id, start=False)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a signal to the group is for the main process
        self.start()

    def start(self):
        """Without a look at the broker, which may be away when a pool is replaced: a pool works without one."""
        self.spawn_cluster()
        self.guard()

    def spawn_process(self, target, *args):
        process = get_mp_context().Process(target=partial(_guarded, os.getpid(), target), args=args)
        process.daemon = True
        if target is work_off_queue:
            process.timer = args[2]
            self.pool.append(process)
        process.start()
        return process

    def reincarnate(self, process):
        """Replace a child that ended; when it may have died with a queue's lock in hand, end the whole pool."""
        was_idle_worker = process in self.pool and process.timer.value == IDLE
        if process.exitcode is not None and process.exitcode < 0 and (was_idle_worker or process not in self.pool):
            logger.error("A child was killed while it may have held a queue's lock: the pool starts afresh.")
            os._exit(POISONED)
        super().reincarnate(process)

    def guard(self):
        self.start_event.set()
        since_schedule = 0.0
        while True:
            for process in list(self.pool):
                if not process.is_alive():
                    self.reincarnate(process)
            if not self.monitor.is_alive():
                self.reincarnate(self.monitor)
            if not self.pusher.is_alive():
                self.reincarnate(self.pusher)
            since_schedule += Conf.GUARD_CYCLE
            if since_schedule >= 30:
                since_schedule = 0.0
                _attempt(lambda: scheduler(broker=self.broker), "The schedules could not be looked at.")
            if self.stop_event.wait(Conf.GUARD_CYCLE):
                break
        self.stop()

    def stop(self):
        worker.draining.value = 1
        super().stop()


def _attempt(action, complaint: str) -> None:
    """Nothing that fails here may end the loop that looks after the workers."""
    try:
        action()
    except Exception:
        logger.warning(complaint, exc_info=True)
        db.close_old_connections()


def _guarded(parent: int, target, *args):
    """A child of the sentinel: dies with it, and leaves signals to the main process."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    target(*args)
