"""Raw `session.run` in a loop: what the runtime gives when nothing is around it.

    python raw.py MODEL.onnx [SESSIONS THREADS]

Each line on stdin, such as `{"seconds": 2, "rows": 32, "tokens": 13}`, is answered by one with the rate of runs and their
latencies. Without SESSIONS there is one session as the library makes it; with them, so many run side by side.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime


def make(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options)


def feeds(session, order):
    """Inputs of the asked shape; token ids are words of any BERT vocabulary."""
    random = np.random.default_rng(1)
    rows = order["rows"]
    made = {}
    for spec in session.get_inputs():
        if spec.type == "tensor(float)":
            made[spec.name] = random.standard_normal((rows, *spec.shape[1:]), np.float32)
        else:
            shape = (rows, order["tokens"])
            ids = {"input_ids": random.integers(2000, 20000, shape), "attention_mask": np.ones(shape, np.int64)}
            made[spec.name] = ids.get(spec.name, np.zeros(shape, np.int64))
    return made


def loop(session, inputs, until):
    took = []
    while (start := time.perf_counter()) < until:
        session.run(None, inputs)
        took.append(time.perf_counter() - start)
    return took


def main():
    sessions, threads = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 2 else (1, 0)
    made = [make(sys.argv[1], threads) for _ in range(sessions)]
    pool = ThreadPoolExecutor(sessions)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        start = time.perf_counter()
        until = start + order["seconds"]
        runs = [pool.submit(loop, session, feeds(session, order), until) for session in made]
        took = np.concatenate([run.result() for run in runs]) * 1e6
        rate = len(took) / (time.perf_counter() - start)
        p50, p99 = np.percentile(took, [50, 99])
        print(json.dumps({"rate": rate, "p50_us": p50, "p99_us": p99}), flush=True)


if __name__ == "__main__":
    main()
