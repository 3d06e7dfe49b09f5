"""llama.cpp through its C interface, and nothing else: what an engine over it could reach at best.

    python llama.py FILE.gguf THREADS

Says `ready`, then answers orders, a line of JSON each: {"streams": 1, "prompt": 512, "answer": 128} has so many sequences read
their prompts one after the other, and answer together, a token of each in every batch. The answer has tokens per second.
"""

import ctypes
import json
import sys
import time

import llama_cpp
import numpy as np


@llama_cpp.llama_log_callback
def silent(*_):
    pass


class Model:
    def __init__(self, path, threads):
        llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.threads = threads

    def measure(self, streams, prompt, answer):
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = (prompt + answer) * streams, streams
        parameters.n_batch = parameters.n_ubatch = max(prompt, 32)
        parameters.n_threads = parameters.n_threads_batch = self.threads
        context = llama_cpp.llama_init_from_model(self.model, parameters)
        # What it does once: not measured.
        self.decode(context, [(1, 0, 0, True)])
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        begin, last = time.perf_counter(), []
        for stream in range(streams):
            tokens = [(at * 7919 + stream * 104729 + 13) % self.vocabulary for at in range(prompt)]
            last += self.decode(context, [(token, at, stream, at == prompt - 1) for at, token in enumerate(tokens)])
        read = time.perf_counter()
        for at in range(answer):
            last = self.decode(context, [(last[stream], prompt + at, stream, True) for stream in range(streams)])
        end = time.perf_counter()
        llama_cpp.llama_free(context)
        return dict(prefill=streams * prompt / (read - begin), decode=streams * answer / (end - read))

    def decode(self, context, tokens):
        """One batch of tokens with position, sequence, and whether its likeliest successor is wanted: those."""
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for at, (token, position, sequence, wanted) in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.logits[at] = token, position, wanted
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        failed = llama_cpp.llama_decode(context, batch)
        llama_cpp.llama_batch_free(batch)
        if failed:
            sys.exit(f"llama.cpp fails with {failed}")
        rows = [llama_cpp.llama_get_logits_ith(context, at) for at, (*_, wanted) in enumerate(tokens) if wanted]
        return [int(np.argmax(np.ctypeslib.as_array(row, shape=(self.vocabulary,)))) for row in rows]


def main(path, threads):
    model = Model(path, int(threads))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(model.measure(**json.loads(line))), flush=True)


main(*sys.argv[1:])
