"""Celery with Redis as its users have it: prefork, the pipeline loaded once by each process, results in Redis.

`celery_app.py text-of-the-pipeline data count [pause]` is the client: it sends the jobs one by one, waits for all
results, and prints jobs per second; with a pause, it sends the next only after it, and prints the median wait for one.
"""

import json
import os
import statistics
import sys
import time

import yaml
from celery import Celery
from celery.signals import worker_process_init
from haystack import Pipeline

app = Celery("peer", broker=os.environ["PEER_URL"], backend=os.environ["PEER_URL"])
app.conf.worker_prefetch_multiplier = 4
pipeline = None


@worker_process_init.connect
def load(**_):
    global pipeline
    pipeline = Pipeline.from_dict(yaml.load(os.environ["PEER_PIPELINE"], Loader=yaml.CSafeLoader))


@app.task(name="run")
def run(data: str) -> str:
    return json.dumps(pipeline.run(json.loads(data)))


def main(data: str, count: int, pause: float = 0.0):
    run.delay(data).get(timeout=60)
    if pause:
        waits = []
        for _ in range(count):
            start = time.perf_counter()
            run.delay(data).get(timeout=60, interval=0.001)
            waits.append(time.perf_counter() - start)
            time.sleep(pause)
        print(statistics.median(waits))
        return
    start = time.perf_counter()
    for result in [run.delay(data) for _ in range(count)]:
        result.get(timeout=600)
    print(count / (time.perf_counter() - start))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:]))
