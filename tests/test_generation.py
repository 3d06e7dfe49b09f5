"""Language models through OpenAI's own SDK, the Open Inference Protocol and raw sockets: answers, streams, limits, bad input."""

import asyncio
import json
import math
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import gateway as support
import language
from manifests import config
from test_batching import at_once, metrics, package

HELLO = [{"role": "user", "content": "Hello there"}]
# Longer than any test waits for: who asks for so much leaves before its end.
ENDLESS = {"max_tokens": language.CONTEXT - 1000, "extra_body": {"ignore_eos": True}}
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A gateway with one small language model under several names: as it is, in GGUF, with limits, with other templates."""
    folder = tmp_path_factory.mktemp("generation")
    plain = language.folder(folder / "plain")
    (folder / "words.gguf").write_bytes(language.gguf())
    one = package(folder, plain, "[generation]\nmax_streams = 1\n", "one")
    # 1,024 tokens for all, of which each may have half.
    tight = package(folder, plain, '[generation]\nmax_streams = 8\nmax_context = 512\nkv_cache = "256KiB"\n', "tight")
    silent = language.folder(folder / "silent", template=None)
    broken = language.folder(folder / "broken", template="{% for message in messages %}")
    strict = language.folder(folder / "strict", template="{{ raise_exception('only poems') }}")
    endless = language.folder(folder / "endless", template="{% for number in range(9999) %}{{ 'x' * 9999 }}{% endfor %}")
    path = config(folder, "[limits]\ndrain_s = 5\n" + f'[[model]]\nname = "one"\npath = "{one}"\nqueue = 1\n')
    models = {"words": plain, "gguf": folder / "words.gguf", "tight": tight, "silent": silent, "broken": broken, "strict": strict, "endless": endless}
    models["small-talk"] = support.ROOT / "models/small-talk"
    named = [f"--model={name}={at}" for name, at in models.items()]
    with support.Gateway(folder, f"--config={path}", *named, f"--model=digits={support.DIGITS}") as running:
        yield running


def sdk(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0)


@pytest.fixture(scope="module")
def client(words):
    with sdk(words) as client:
        yield client


def chat(client, messages=HELLO, model="words", temperature=0, **options):
    return client.chat.completions.create(model=model, messages=messages, temperature=temperature, **options)


def complete(client, prompt, model="words", temperature=0, **options):
    return client.completions.create(model=model, prompt=prompt, temperature=temperature, **options)


def said(answer):
    return answer.choices[0].message.content


def user(text):
    return [{"role": "user", "content": text}]


def bias(*tokens, by=100):
    """Makes these tokens the only ones that are chosen."""
    return {str(language.IDS[token]): by for token in tokens}


def busy(gateway, model):
    """Answers under way, those that wait, and memory that they hold."""
    found = metrics(gateway, model)
    names = ("headland_generation_running_requests", "headland_inference_pending_requests", "headland_generation_kv_cache_used_bytes")
    return tuple(found[name] for name in names)


def idle(gateway, model="words"):
    support.eventually(f"{model} is idle", lambda: busy(gateway, model) == (0, 0, 0), seconds=30)


@pytest.fixture
def still_fine(words, client):
    """After the test nothing runs, and the next good request gets its answer."""
    before = said(chat(client, max_tokens=12))
    yield
    idle(words)
    assert said(chat(client, max_tokens=12)) == before


# Whole and streamed


def test_a_chat_is_answered_whole(client):
    answer = chat(client, max_tokens=20)
    choice = answer.choices[0]
    assert (answer.object, answer.model, choice.index) == ("chat.completion", "words", 0)
    assert (choice.message.role, choice.finish_reason, choice.logprobs) == ("assistant", "length", None)
    assert answer.id.startswith("chatcmpl-") and abs(answer.created - time.time()) < 60 and said(answer)
    usage = answer.usage
    assert usage.completion_tokens == 20 and usage.prompt_tokens > 10
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_streamed_chat_says_what_the_whole_one_says(client):
    whole = chat(client, max_tokens=60)
    chunks = list(chat(client, max_tokens=60, stream=True, stream_options={"include_usage": True}))
    *told, last = chunks
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({chunk.id for chunk in chunks}) == 1
    assert told[0].choices[0].delta.role == "assistant" and all(chunk.usage is None for chunk in told)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == said(whole)
    assert [chunk.choices[0].finish_reason for chunk in told] == [None] * (len(told) - 1) + ["length"]
    assert last.choices == [] and last.usage.completion_tokens == 60
    assert last.usage.prompt_tokens == whole.usage.prompt_tokens
    # Nobody asked for it: it does not come.
    assert all(chunk.choices for chunk in chat(client, max_tokens=4, stream=True))


def test_a_model_that_was_trained_answers_as_transformers_does_and_ends_by_itself(client):
    goldens = json.loads((support.ROOT / "models/small-talk/goldens.json").read_text())
    answers = at_once(lambda golden: chat(client, user(golden["asked"]), "small-talk"), goldens, len(goldens))
    for golden, answer in zip(goldens, answers):
        assert (said(answer), answer.choices[0].finish_reason) == (golden["text"], "stop")
        # The token that ends it is one of the answer's.
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(golden["prompt"]), len(golden["tokens"]))


def test_a_stream_is_events_that_end_with_done(words):
    body = {"model": "words", "messages": HELLO, "max_tokens": 8, "stream": True}
    answer = words.post(CHAT, json_body=body)
    assert answer.headers["content-type"] == "text/event-stream" and answer.headers["cache-control"] == "no-cache"
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events)


def test_the_first_piece_comes_long_before_the_last(client, words):
    with chat(client, stream=True, **ENDLESS) as stream:
        for chunk, _ in zip(stream, range(5)):
            assert chunk.choices[0].finish_reason is None
        running, *_ = busy(words, "words")
        assert running == 1, "it had been computed to its end before it was told"
    idle(words)


def test_the_async_client_streams_too(words):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{words.url}/v1", api_key="unused", max_retries=0) as client:
            stream = await client.chat.completions.create(model="words", messages=HELLO, temperature=0, max_tokens=30, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    with sdk(words) as client:
        assert asyncio.run(ask()) == said(chat(client, max_tokens=30))


def test_characters_of_several_tokens_are_never_split(client, words):
    """Only bytes of `é` and `€` are chosen, most of them in no sensible order."""
    options = {"max_tokens": 120, "logit_bias": bias("Ã", "©", "â", "Ĥ", "¬"), "frequency_penalty": 2}
    whole = said(chat(client, **options))
    assert "é" in whole, whole
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chat(client, stream=True, **options)) == whole
    raw = words.post(CHAT, json_body={"model": "words", "messages": HELLO, "temperature": 0, "stream": True, **options}).body
    events = [json.loads(event.removeprefix(b"data: ").decode()) for event in raw.split(b"\n\n")[:-2]]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == whole


def test_an_answer_that_the_model_ends_stops(client):
    answer = chat(client, max_tokens=20, logit_bias=bias("<|eot_id|>"))
    assert (answer.choices[0].finish_reason, said(answer)) == ("stop", "")
    told = list(chat(client, max_tokens=20, logit_bias=bias("<|eot_id|>"), stream=True))
    assert told[-1].choices[0].finish_reason == "stop"
    endless = chat(client, max_tokens=5, logit_bias=bias("<|eot_id|>"), extra_body={"ignore_eos": True})
    assert (endless.choices[0].finish_reason, endless.usage.completion_tokens) == ("length", 5)


def test_several_prompts_are_answered_in_their_order(client):
    prompts = ["The quick brown fox", "jumps", "over the lazy dog"]
    together = complete(client, prompts, max_tokens=12)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    alone = [complete(client, prompt, max_tokens=12) for prompt in prompts]
    assert [choice.text for choice in together.choices] == [answer.choices[0].text for answer in alone]
    assert together.usage.prompt_tokens == sum(answer.usage.prompt_tokens for answer in alone)
    assert together.usage.completion_tokens == 36
    told = {0: "", 1: "", 2: ""}
    for chunk in complete(client, prompts, max_tokens=12, stream=True):
        told[chunk.choices[0].index] += chunk.choices[0].text
    assert list(told.values()) == [choice.text for choice in together.choices]


def test_a_prompt_of_tokens_is_the_prompt_of_its_text(client):
    ids = [language.BEGIN, *(language.IDS[letter] for letter in "7q7")]
    assert complete(client, ids, max_tokens=9).choices[0].text == complete(client, "7q7", max_tokens=9).choices[0].text
    assert complete(client, [ids, ids[:2]], max_tokens=1).usage.prompt_tokens == 6


def test_an_echo_goes_before_the_answer(client):
    answer = complete(client, "The quick", max_tokens=10).choices[0].text
    assert complete(client, "The quick", max_tokens=10, echo=True).choices[0].text == "The quick" + answer
    told = complete(client, "The quick", max_tokens=10, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in told) == "The quick" + answer


def test_answers_to_a_text_have_sixteen_tokens_unless_more_are_asked_for(client):
    assert complete(client, "The").usage.completion_tokens <= 16
    assert chat(client, max_completion_tokens=33, extra_body={"ignore_eos": True}).usage.completion_tokens == 33


def test_a_gguf_file_answers_as_its_folder_does(client):
    """The same numbers under other names, with the tokenizer and the template out of the file itself. Of the tokens that may
    end an answer it knows more."""
    options = {"max_tokens": 48, "extra_body": {"ignore_eos": True}}
    folder, file = (chat(client, user("A lazy fox"), model, **options) for model in ("words", "gguf"))
    assert file.usage.prompt_tokens == folder.usage.prompt_tokens
    assert said(file) == said(folder)


def test_text_goes_on_where_a_model_has_no_template(client):
    assert complete(client, "The", "silent", max_tokens=8).choices[0].text == complete(client, "The", max_tokens=8).choices[0].text


# Sampling


def test_a_seed_gives_the_same_answer_again(client):
    def ask(seed, **options):
        return said(chat(client, temperature=1, seed=seed, max_tokens=40, **options))

    assert ask(7) == ask(7) == ask(7, top_p=1)
    assert ask(7) != ask(8)
    told = chat(client, temperature=1, seed=7, max_tokens=40, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == ask(7)
    assert chat(client, temperature=1, max_tokens=40) != chat(client, temperature=1, max_tokens=40)


def test_answers_to_one_prompt_differ_and_its_tokens_count_once(client):
    several = chat(client, temperature=1, seed=7, n=4, max_tokens=30)
    texts = [choice.message.content for choice in several.choices]
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3] and len(set(texts)) == 4
    one = chat(client, temperature=1, seed=7, max_tokens=30)
    assert texts[0] == said(one), "the first of several is what one alone would be"
    assert several.usage.prompt_tokens == one.usage.prompt_tokens and several.usage.completion_tokens == 120
    told = ["", "", "", ""]
    for chunk in chat(client, temperature=1, seed=7, n=4, max_tokens=30, stream=True):
        told[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert told == texts


@pytest.mark.parametrize("options", [{"extra_body": {"top_k": 1}}, {"top_p": 1e-6}, {"extra_body": {"min_p": 1}}], ids=["top_k", "top_p", "min_p"])
def test_whoever_leaves_one_token_to_choose_from_gets_the_likeliest(client, options):
    assert said(chat(client, temperature=1.5, max_tokens=30, **options)) == said(chat(client, max_tokens=30))


def test_a_bias_decides_which_tokens_come(client):
    assert said(chat(client, max_tokens=6, logit_bias=bias("A"))) == "AAAAAA"
    text = said(chat(client, temperature=1, max_tokens=60, logit_bias=bias("A", "B")))
    assert set(text) == {"A", "B"}
    assert "A" not in said(chat(client, temperature=1, max_tokens=40, logit_bias=bias("B") | bias("A", by=-100)))


def test_penalties_keep_the_model_from_saying_the_same_again(client):
    letters = bias(*"ABCDEFGH")
    free, *bound = [
        said(chat(client, max_tokens=8, logit_bias=letters, **options))
        for options in ({}, {"presence_penalty": 2}, {"frequency_penalty": 2}, {"extra_body": {"repetition_penalty": 1.5}})
    ]
    assert len(set(free)) < 8
    assert all(len(set(text)) > len(set(free)) for text in bound), (free, bound)


def test_a_stop_string_ends_an_answer_and_is_not_told(client):
    letters = {"max_tokens": 400, "logit_bias": bias(*"abcdefgh"), "temperature": 1, "seed": 3}
    whole = said(chat(client, **letters))
    # Across the borders of tokens, which are letters here.
    stop = whole[150:154]
    options = letters | {"stop": ["never said", stop]}
    cut = chat(client, **options)
    assert (said(cut), cut.choices[0].finish_reason) == (whole[: whole.index(stop)], "stop")
    assert cut.usage.completion_tokens == whole.index(stop) + len(stop)
    told = list(chat(client, stream=True, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == said(cut)
    assert told[-1].choices[0].finish_reason == "stop"
    # Its beginning alone is told in the end.
    held = chat(client, **letters | {"stop": whole[397:] + "!"})
    assert (said(held), held.choices[0].finish_reason) == (whole, "length")


def test_logarithms_of_likelihoods_are_the_models(client):
    answer = chat(client, max_tokens=12, logprobs=True, top_logprobs=5)
    content = answer.choices[0].logprobs.content
    assert len(content) == 12
    for token in content:
        top = [other.logprob for other in token.top_logprobs]
        assert len(top) == 5 and top == sorted(top, reverse=True) and sum(map(math.exp, top)) <= 1.0001
        assert token.logprob == top[0], "the likeliest was chosen"
    told = chat(client, max_tokens=12, logprobs=True, top_logprobs=5, stream=True)
    streamed = [token for chunk in told if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content]
    assert [token.logprob for token in streamed] == [token.logprob for token in content]


def test_bytes_of_the_tokens_are_the_answer(client):
    """Which tokens that are part of a character do not tell by their text."""
    answer = chat(client, max_tokens=40, logprobs=True, logit_bias=bias("Ã", "©", "A"), frequency_penalty=2)
    joined = b"".join(bytes(token.bytes) for token in answer.choices[0].logprobs.content)
    assert "é" in said(answer)
    assert joined.decode(errors="replace") == said(answer)


def test_texts_have_their_logarithms_by_token(client):
    choice = complete(client, "The", max_tokens=6, logit_bias=bias("A", "B", "C", "D", by=50), logprobs=3).choices[0]
    assert choice.logprobs.tokens == list(choice.text) and len(choice.logprobs.token_logprobs) == 6
    # Before any bias: what the model would have said, three of it each time, parts of characters by their bytes.
    assert all(len(top) == 3 for top in choice.logprobs.top_logprobs), choice.logprobs.top_logprobs
    assert any(token.startswith("bytes:\\x") for top in choice.logprobs.top_logprobs for token in top)
    assert choice.logprobs.text_offset == [0, 1, 2, 3, 4, 5]
    assert complete(client, "The", max_tokens=3).choices[0].logprobs is None


def test_tokens_of_a_text_have_their_place_in_it(client):
    """In characters, of which some are several tokens: those stand where theirs does."""
    options = {"max_tokens": 60, "logit_bias": bias("Ã", "©", "Ġ", "the", "A", by=60), "frequency_penalty": 2, "logprobs": 0}
    choice = complete(client, "The", **options).choices[0]
    tokens, offsets = choice.logprobs.tokens, choice.logprobs.text_offset
    assert any(token.startswith("bytes:") for token in tokens) and len(tokens) == len(offsets) == 60
    for before, token, offset in zip([""] + tokens, tokens, offsets):
        if not (before.startswith("bytes:") or token.startswith("bytes:")):
            assert choice.text[offset : offset + len(token)] == token, (token, offset, choice.text)
    assert offsets == sorted(offsets)
    told = [chunk.choices[0] for chunk in complete(client, "The", stream=True, **options)]
    assert [offset for each in told if each.logprobs for offset in each.logprobs.text_offset] == offsets


# Many at once


def test_answers_do_not_depend_on_who_else_is_answered(client):
    prompts = [user("word " * (number * 7) + f"{number}") for number in range(16)]
    alone = [chat(client, prompt, max_tokens=48) for prompt in prompts]
    together = at_once(lambda prompt: chat(client, prompt, max_tokens=48), prompts, 16)
    assert [said(answer) for answer in together] == [said(answer) for answer in alone]
    assert [answer.usage.completion_tokens for answer in together] == [answer.usage.completion_tokens for answer in alone]


def test_answers_that_give_their_memory_to_others_come_out_the_same(client, words):
    prompts = [user(f"{number} " * (5 + number)) for number in range(8)]
    options = {"max_tokens": 300, "extra_body": {"ignore_eos": True}}
    before = metrics(words, "tight")["headland_generation_preemptions_total"]
    together = at_once(lambda prompt: said(chat(client, prompt, "tight", **options)), prompts, 8)
    assert metrics(words, "tight")["headland_generation_preemptions_total"] > before, "there was memory for all"
    assert together == at_once(lambda prompt: said(chat(client, prompt, **options)), prompts, 8)
    idle(words, "tight")


def test_a_prompt_that_was_seen_before_is_not_computed_again(client):
    rules = {"role": "system", "content": "Seen for the first time. " + "Be brief and be kind. " * 40}
    first = chat(client, [rules, *HELLO], max_tokens=16)
    again = chat(client, [rules, *HELLO], max_tokens=16)
    other = chat(client, [rules, *user("Something else")], max_tokens=16)
    cached = [answer.usage.prompt_tokens_details.cached_tokens for answer in (first, again, other)]
    tokens = first.usage.prompt_tokens
    assert cached[0] < 40 and cached[1] > tokens - 40 and cached[2] > tokens - 80, (cached, tokens)
    assert said(first) == said(again)


def test_a_long_prompt_does_not_stop_those_who_are_being_answered(client):
    with chat(client, stream=True, **ENDLESS) as stream:
        told = iter(stream)
        next(told)
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(chat, client, user("ox " * 4000), max_tokens=1)
            pieces = 0
            while not long.done():
                assert next(told).choices[0].finish_reason is None
                pieces += 1
            assert long.result().usage.prompt_tokens > 4000
        assert pieces > 10, "nothing was told while the prompt was read"


# Who leaves


@pytest.mark.parametrize("count", [1, 4])
def test_a_client_that_leaves_a_stream_frees_its_place(client, words, still_fine, count):
    before = metrics(words, "words")
    with chat(client, stream=True, temperature=1, n=count, **ENDLESS) as stream:
        next(iter(stream))
        support.eventually("it runs", lambda: busy(words, "words")[0] == count)
        assert busy(words, "words")[2] > 0
    idle(words)
    after = metrics(words, "words")
    computed = after["headland_generation_tokens_total"] - before["headland_generation_tokens_total"]
    assert computed < ENDLESS["max_tokens"], "it was computed to its end for nobody"


def test_a_client_that_leaves_before_a_whole_answer_frees_its_place(words, still_fine):
    body = json.dumps({"model": "words", "messages": HELLO, "max_tokens": ENDLESS["max_tokens"], "ignore_eos": True}).encode()
    with words.socket() as stream:
        stream.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body)
        support.eventually("it runs", lambda: busy(words, "words")[0] == 1)
    idle(words)


def test_who_waits_and_leaves_is_not_answered(client, words):
    with chat(client, model="one", stream=True, **ENDLESS) as stream:
        next(iter(stream))
        with ThreadPoolExecutor(1) as pool:
            with sdk(words).with_options(timeout=1) as hasty:
                waits = pool.submit(chat, hasty, model="one", max_tokens=1)
                support.eventually("it waits", lambda: busy(words, "one")[:2] == (1, 1))
                with pytest.raises(openai.APITimeoutError):
                    waits.result()
        support.eventually("it waits no more", lambda: busy(words, "one")[:2] == (1, 0))
    idle(words, "one")


def test_a_full_queue_is_503_with_retry_after_and_the_streams_go_on(client, words):
    with chat(client, model="one", stream=True, **ENDLESS) as stream:
        told = iter(stream)
        next(told)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(chat, client, model="one", max_tokens=4)
            support.eventually("the second waits", lambda: busy(words, "one")[:2] == (1, 1))
            with pytest.raises(openai.InternalServerError) as caught:
                chat(client, model="one", max_tokens=4)
            error = caught.value
            assert (error.status_code, error.code, error.type) == (503, "overloaded", "service_unavailable_error")
            assert int(error.response.headers["retry-after"]) >= 1
            assert "`one" in error.message and "is busy" in error.message, error.message
            answer = words.post("/v2/models/one/infer", json_body=native(text="x", parameters={"max_tokens": 1}))
            assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
            # Who is there already keeps its place.
            assert next(told).choices[0].finish_reason is None and not second.done()
            stream.close()
            assert second.result().usage.completion_tokens == 4
    idle(words, "one")


def test_a_reader_of_one_byte_holds_up_nobody(client, words, still_fine):
    options = {"max_tokens": 6000, "ignore_eos": True, "temperature": 0, "stream": True}
    body = json.dumps({"model": "words", "messages": HELLO, **options}).encode()
    alone = said(chat(client, max_tokens=30))
    with socket.socket() as slow:
        # Small, so that most of the answer stays with the gateway.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", words.port))
        slow.settimeout(support.ANSWER_SECONDS_MAX)
        head = b"POST %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body))
        slow.sendall(head + body)
        received = slow.recv(1)
        for _ in range(5):
            assert said(chat(client, max_tokens=30)) == alone
        # The engine computes on, and is done with it: its memory is free, though nobody has read the answer.
        idle(words)
        while more := slow.recv(65536):
            received += more
    assert received.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in received and b'"finish_reason":"length"' in received


# The Open Inference Protocol


def native(**tensors):
    """A request with tensors of one text each; objects are written as JSON."""

    def tensor(name, value):
        text = value if isinstance(value, str) else json.dumps(value)
        return {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}

    return {"inputs": [tensor(name, value) for name, value in tensors.items()]}


def test_tritons_client_gets_text_for_text(client, words):
    def tensor(name, *texts):
        tensor = triton.InferInput(name, [len(texts)], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode() for text in texts], np.object_))
        return tensor

    with triton.InferenceServerClient(f"127.0.0.1:{words.port}", network_timeout=60.0) as inference:
        metadata = inference.get_model_metadata("words")
        assert [each["name"] for each in metadata["inputs"]] == ["text", "messages", "parameters"]
        parameters = tensor("parameters", json.dumps({"max_tokens": 20, "temperature": 0}))
        answer = inference.infer("words", [tensor("text", "The quick", "brown"), parameters])
        texts = [text.decode() for text in answer.as_numpy("text")]
        assert texts == [choice.text for choice in complete(client, ["The quick", "brown"], max_tokens=20).choices]
        assert list(answer.as_numpy("finish_reason")) == [b"length", b"length"]
        answer = inference.infer("words", [tensor("messages", json.dumps(HELLO)), parameters])
        completion = json.loads(answer.as_numpy("completion")[0])
        assert completion["choices"][0]["message"]["content"] == said(chat(client, max_tokens=20))
        assert completion["usage"]["completion_tokens"] == 20
        with pytest.raises(InferenceServerException, match="temperature"):
            inference.infer("words", [tensor("text", "x"), tensor("parameters", '{"temperature": -1}')])


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ({}, "send a prompt as `text` or a conversation as `messages`"),
        ({"text": "x", "messages": HELLO}, "send a prompt as `text` or a conversation as `messages`"),
        ({"text": "x", "parameters": "[]"}, "`parameters` is no object in JSON"),
        ({"text": "x", "parameters": "{"}, "`parameters` is no object in JSON"),
        ({"messages": "{"}, "`messages` is no JSON"),
        ({"text": "x", "parameters": {"tempreature": 1}}, "`tempreature`"),
        ({"text": "x", "parameters": {"max_tokens": 2**31}}, "2147483648"),
        ({"text": "x", "prompt": "y"}, "`prompt`"),
    ],
)
def test_tensors_that_ask_for_nothing_sensible_are_400(words, still_fine, tensors, expected):
    answer = words.post("/v2/models/words/infer", json_body=native(**tensors))
    assert answer.status == 400 and expected in answer.json()["error"], answer.text


# Bad input


@pytest.mark.parametrize(
    ("options", "code", "param", "expected"),
    [
        ({"messages": user("ox " * 20_000)}, "context_length_exceeded", "messages", [str(language.CONTEXT), "400"]),
        ({"max_tokens": 2**31}, "context_length_exceeded", "messages", [str(language.CONTEXT), str(2**31)]),
        ({"max_tokens": 0}, "invalid_input", "max_tokens", ["no tokens"]),
        ({"max_tokens": -1}, "invalid_input", "max_tokens", ["`max_tokens`", "-1"]),
        ({"temperature": -1}, "invalid_input", "temperature", ["`temperature` is -1", "between 0 and 2"]),
        ({"temperature": 2.5}, "invalid_input", "temperature", ["2.5"]),
        ({"temperature": "hot"}, "invalid_input", "temperature", ["`temperature`"]),
        ({"stream_options": 3}, "invalid_input", "stream_options", ["`include_usage`"]),
        ({"stream_options": {"include_usag": True}}, "invalid_input", "stream_options", ["include_usag"]),
        ({"chat_template_kwargs": 3}, "invalid_input", "chat_template_kwargs", ["object"]),
        ({"seed": 1.5}, "invalid_input", "seed", ["1.5"]),
        ({"logprobs": 3}, "invalid_input", "logprobs", ["true or false"]),
        ({"top_p": 0}, "invalid_input", "top_p", ["more than 0"]),
        ({"min_p": 2}, "invalid_input", "min_p", ["`min_p` is 2"]),
        ({"repetition_penalty": 0}, "invalid_input", "repetition_penalty", ["0"]),
        ({"presence_penalty": 3}, "invalid_input", "presence_penalty", ["between -2 and 2"]),
        ({"frequency_penalty": -3}, "invalid_input", "frequency_penalty", ["between -2 and 2"]),
        ({"stop": ["x"] * 10_000}, "invalid_input", "stop", ["10000 strings", "16 at most"]),
        ({"stop": ["x" * 1000]}, "invalid_input", "stop", ["1000 bytes", "256 at most"]),
        ({"stop": ""}, "invalid_input", "stop", ["is empty"]),
        ({"stop": 3}, "invalid_input", "stop", ["`stop`"]),
        ({"n": 0}, "invalid_input", "n", ["between 1 and 16"]),
        ({"n": 17}, "invalid_input", "n", ["between 1 and 16"]),
        ({"logit_bias": {str(language.VOCABULARY): 1}}, "invalid_input", "logit_bias", [f"the vocabulary has {language.VOCABULARY}"]),
        ({"logit_bias": {"cat": 1}}, "invalid_input", "logit_bias", ["`cat`"]),
        ({"logit_bias": {"3": 101}}, "invalid_input", "logit_bias", ["between -100 and 100"]),
        ({"logprobs": True, "top_logprobs": 21}, "invalid_input", "top_logprobs", ["20 at most"]),
        ({"top_logprobs": 2}, "invalid_input", "top_logprobs", ["logprobs"]),
        ({"tempreature": 1}, "invalid_input", "tempreature", ["`tempreature` is no parameter"]),
        ({"messages": []}, "invalid_input", "messages", ["has 0"]),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "invalid_input", "messages", ["message 0", "`wizard`", "assistant"]),
        ({"messages": [{"content": "x"}]}, "invalid_input", "messages", ["message 0 has no role"]),
        ({"messages": [{"role": "user"}]}, "invalid_input", "messages", ["content"]),
        ({"messages": user([{"type": "image_url", "image_url": {"url": "x"}}])}, "invalid_input", "messages", ["`image_url`"]),
        ({"model": "broken"}, "invalid_input", "messages", ["template cannot be used", "line 1"]),
        ({"model": "strict"}, "invalid_input", "messages", ["template refuses the conversation: only poems"]),
        ({"model": "endless"}, "invalid_input", "messages", ["template cannot be applied: it makes a prompt of more than 16777216 bytes"]),
        ({"model": "silent"}, "invalid_input", "messages", ["no chat template"]),
        ({"model": "digits"}, "invalid_input", "model", ["`digits` is no language model", "words", "gguf"]),
    ],
)
def test_a_chat_that_cannot_be_is_400_and_says_why(client, words, still_fine, options, code, param, expected):
    body = {"model": "words", "messages": HELLO, "max_tokens": 4} | options
    for stream in (False, True):
        answer = words.post(CHAT, json_body=body | {"stream": stream})
        error = answer.json()["error"]
        assert answer.status == 400 and error["type"] == "invalid_request_error", answer.text
        assert (error["code"], error["param"]) == (code, param), error
        assert all(part in error["message"] for part in expected), error["message"]
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    ("options", "code", "param", "expected"),
    [
        ({"prompt": "ox " * 20_000}, "context_length_exceeded", "prompt", [str(language.CONTEXT), "400"]),
        ({"prompt": [999_999]}, "invalid_input", "prompt", ["999999"]),
        ({"prompt": []}, "invalid_input", "prompt", ["no tokens"]),
        ({"prompt": {}}, "invalid_input", "prompt", ["`prompt` is a text"]),
        ({"prompt": ["x"] * 17}, "invalid_input", "prompt", ["17 entries"]),
        ({"prompt": ["x"] * 8, "n": 3}, "invalid_input", "n", ["between 1 and 16"]),
        ({"logprobs": 21}, "invalid_input", "logprobs", ["`logprobs` is 21", "20 at most"]),
        ({"suffix": "end"}, "invalid_input", "suffix", ["not supported"]),
        ({"best_of": 3}, "invalid_input", "best_of", ["`best_of`"]),
        ({"echo": True, "logprobs": 1}, "invalid_input", "echo", ["`echo` with `logprobs`"]),
        ({"messages": HELLO}, "invalid_input", "messages", ["`messages` is no parameter"]),
    ],
)
def test_a_text_that_cannot_be_is_400_and_says_why(words, still_fine, options, code, param, expected):
    answer = words.post(TEXT, json_body={"model": "words", "prompt": "x", "max_tokens": 4} | options)
    error = answer.json()["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, param), answer.text
    assert all(part in error["message"] for part in expected), error["message"]


def test_a_prompt_of_megabytes_is_refused_before_anything_is_made_of_it(client, words, still_fine):
    """A token stands for so many bytes at most: what cannot fit need not be tokenised."""
    body = {"model": "words", "messages": user("ox " * (4 << 20)), "max_tokens": 4}
    for answer in at_once(lambda _: words.post(CHAT, json_body=body), range(4), 4):
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "context_length_exceeded", "messages"), answer.text[:500]
        assert str(language.CONTEXT) in error["message"], error["message"]
    answer = words.post(TEXT, json_body={"model": "words", "prompt": "ox " * (4 << 20)})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "prompt"), answer.text[:500]


def test_a_body_that_is_no_request_is_400(words, still_fine):
    for path in (CHAT, TEXT):
        for body in (b"", b"{", b"[]", b"null", b'{"model": "words"}', b'{"messages": [], "prompt": ""}', b"\xff", b"[" * 5000):
            answer = words.post(path, body)
            error = answer.json()["error"]
            assert answer.status == 400 and error["message"] and error["type"] == "invalid_request_error", (body, answer.text)


def test_a_model_is_not_asked_for_what_it_cannot(client):
    with pytest.raises(openai.BadRequestError, match="`words` does not embed text"):
        client.embeddings.create(model="words", input="x")
    with pytest.raises(openai.NotFoundError, match="words"):
        chat(client, model="gpt-9")


# Without a gateway, and about one


def test_a_model_shows_how_many_streams_it_has_room_for(words):
    def shown(model):
        return words.admin(f"/admin/v1/models/{model}").json()["generation"]

    # Keys and values of two layers with two heads each, sixteen numbers of two bytes.
    assert shown("words")["context_max"] == language.CONTEXT
    assert shown("words")["kv_bytes_per_token"] == 2 * 2 * 2 * 16 * 2
    tight = shown("tight")
    assert (tight["context_max"], tight["streams_max"], tight["full_streams_max"]) == (512, 8, 2)
    assert tight["kv_cache_bytes"] == 256 << 10
    said = support.run("model", "show", "tight", "--server", words.admin_url, "--data-dir", words.data_dir).stdout
    assert "kv_bytes_per_token: 256" in said and "full_streams_max: 2" in said, said
    assert metrics(words, "tight")["headland_generation_kv_cache_bytes"] == 256 << 10


def test_a_model_is_tried_without_a_gateway(client, words):
    folder = words.folder
    tried = support.run("run", folder / "plain", "Hello there", "--max-tokens", 20, "--temperature", 0)
    assert tried.stdout.rstrip("\n") == said(chat(client, max_tokens=20)).rstrip("\n")
    # The first token comes with the prompt: what comes after it has a rate.
    prompt = chat(client, max_tokens=20).usage.prompt_tokens
    took = r"\d+(?:\.\d+)?(?:ns|µs|ms|s)"
    speeds = rf"{prompt} tokens of prompt in {took}; 20 tokens of answer, (\d+\.\d) a second \(loaded in {took}\)"
    found = re.search(speeds, tried.stderr)
    assert found and float(found[1]) > 1, tried.stderr
    one = support.run("run", folder / "plain", "Hello there", "--max-tokens", 1, "--temperature", 0)
    assert re.search(rf"; 1 tokens of answer \(loaded in {took}\)", one.stderr), one.stderr
    whole = support.run("run", folder / "words.gguf", "The quick", "--raw", "--max-tokens", 9, "--temperature", 0, "--json")
    assert json.loads(whole.stdout)["choices"][0]["text"] == complete(client, "The quick", "gguf", max_tokens=9).choices[0].text
    refused = support.run("run", support.DIGITS, "x", check=False)
    assert refused.returncode == 1 and "digits" in refused.stderr and "panicked" not in refused.stderr, refused.stderr


def test_numbers_below_zero_reach_the_model_or_are_refused_by_name(client, words):
    def tried(*more, check=True):
        return support.run("run", words.folder / "plain", "Hello there", "--max-tokens", 20, *more, check=check)

    seeded = tried("--temperature", 1, "--seed", -5).stdout
    assert seeded.rstrip("\n") == said(chat(client, max_tokens=20, temperature=1, seed=-5)).rstrip("\n")
    assert seeded == tried("--temperature=1", "--seed=-5").stdout != tried("--temperature", 1, "--seed", 5).stdout
    short = support.run("run", words.folder / "plain", "Hello there", "--max-tokens", -1, check=False)
    for refused, expected in ((tried("--temperature", -1, check=False), "temperature"), (short, "--max-tokens")):
        assert refused.returncode != 0 and expected in refused.stderr and "-1" in refused.stderr, refused.stderr
        assert refused.stdout == "" and "panicked" not in refused.stderr


def test_a_folder_that_is_no_model_is_refused_before_its_files_are_read(tmp_path):
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text("no model")
    # Whoever reads it waits for ever.
    os.mkfifo(tmp_path / "0.fifo")
    refused = support.run("run", tmp_path, "x", check=False)
    assert refused.returncode == 1 and str(tmp_path) in refused.stderr and "no model found" in refused.stderr, refused.stderr


# Files that are no models


def cut(at):
    return lambda whole: whole[:at]


def with_number(at, number):
    """Another count, of 8 bytes, at a place or after some bytes."""

    def change(whole):
        where = at if isinstance(at, int) else whole.index(at) + len(at)
        return whole[:where] + (number % 2**64).to_bytes(8, "little") + whole[where + 8 :]

    return change


# Tensors are described after their names: number of axes, axes, type, offset.
AXES = b"output_norm.weight\x01\0\0\0"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (cut(0), "it ends at 0"),
        (cut(3), "it ends at 3"),
        (cut(100), "it ends at 100"),
        (cut(-1000), "the file ends at"),
        (with_number(0, 0), "does not begin with `GGUF`"),
        (with_number(8, 2**63), "9223372036854775808 tensors"),
        (with_number(16, 2**40), "1099511627776 entries of metadata"),
        (with_number(24, 2**62), "it ends at"),
        (with_number(b"tokenizer.ggml.tokens\x09\0\0\0\x08\0\0\0", 2**60), "an array of 1152921504606846976 elements"),
        (with_number(AXES, 2**61), "tensor `output_norm.weight`"),
        (with_number(AXES, 63), "tensor `output_norm.weight`"),
        (with_number(AXES + (64).to_bytes(8, "little") + bytes(4), 2**50), "tensor `output_norm.weight`"),
        (lambda whole: whole.replace(b"llama", b"mamba"), "`mamba`"),
    ],
    ids=[
        "empty", "cut in its name", "cut in its head", "cut in its tensors", "another file", "tensors", "entries", "a text",
        "an array", "an axis", "another axis", "an offset", "architecture",
    ],  # fmt: skip
)
def test_a_gguf_file_that_is_cut_or_lies_is_refused_by_file_and_cause(tmp_path, change, expected):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "words.gguf").write_bytes(change(language.gguf()))
    said = support.refuses_to_start(tmp_path, f"--model=m={folder}")
    assert f"{folder}/words.gguf" in said and expected in said, said
    assert "panicked" not in said, said


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_type": "mamba"}, ["`mamba`", "llama", "qwen3", "gemma2", "phi3"]),
        ({"hidden_size": 128}, ["model.embed_tokens.weight", "128"]),
        ({"num_hidden_layers": 3}, ["model.layers.2."]),
        ({"num_key_value_heads": 3}, ["4 attention heads cannot share 3"]),
        ({"max_position_embeddings": None}, ["`max_position_embeddings` is missing"]),
        ({"vocab_size": 2**40}, ["vocabulary"]),
        ({"eos_token_id": 999_999}, ["999999"]),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused_by_file_and_cause(tmp_path, changes, expected):
    folder = language.folder(tmp_path / "model", **changes)
    said = support.refuses_to_start(tmp_path, f"--model=m={folder}")
    assert str(folder) in said and all(part in said for part in expected), said
    assert "panicked" not in said, said


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        ("[generation]\nmax_context = 0\n", "[generation] numbers are at least 1"),
        ("[generation]\nmax_streams = 0\n", "[generation] numbers are at least 1"),
        ("[generation]\nmax_streams = 1025\n", "`max_streams` is at most 1024"),
        ('[generation]\nkv_cache = "0B"\n', "[generation] numbers are at least 1"),
        ("[generation]\nmax_context = -1\n", "headland.model.toml:2:"),
        ("[generation]\nmax_context = 99999999\n", "`max_context = 99999999`; the model was made for 32768"),
        ('[generation]\nkv_cache = "lots"\n', "headland.model.toml:2:"),
        ("[generation]\nmax_contxt = 4\n", "did you mean `max_context`"),
        ('[generation]\nkv_cache = "1KiB"\n', "1024"),
        ("instances = 2\n", "`instances` has no effect on a language model"),
        ("[batching]\nmax_rows = 2\n", "[batching] has no effect on a language model"),
        ('[cache]\nmax_bytes = "1MiB"\n', "[cache] has no effect on a language model"),
    ],
)
def test_generation_keys_that_cannot_be_are_refused(tmp_path, manifest, expected):
    folder = language.folder(tmp_path / "model", manifest=manifest)
    said = support.refuses_to_start(tmp_path, f"--model=m={folder}")
    assert expected in said and str(folder) in said, said


def test_generation_keys_of_a_model_that_is_none_are_refused(tmp_path):
    folder = package(tmp_path, support.DIGITS, "[generation]\nmax_streams = 2\n")
    said = support.refuses_to_start(tmp_path, f"--model=m={folder}")
    assert "[generation] is for language models" in said, said


# The end of a gateway


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return language.folder(tmp_path_factory.mktemp("model") / "words")


def test_a_stream_of_a_gateway_that_is_killed_breaks_and_the_next_gateway_answers(tmp_path, model):
    killed = support.Gateway(tmp_path / "one", f"--model=words={model}")
    try:
        support.eventually("the gateway is ready", killed.is_ready, support.START_SECONDS_MAX)
        with sdk(killed) as client:
            answer, told = said(chat(client, max_tokens=10)), []
            with pytest.raises((openai.OpenAIError, httpx2.HTTPError)):
                for chunk in chat(client, stream=True, **ENDLESS):
                    told.append(chunk)
                    if len(told) == 5:
                        killed.kill()
    finally:
        killed.kill()
    assert len(told) >= 5
    assert all(chunk.choices[0].finish_reason is None for chunk in told), "the beginning was told as the whole"
    with support.Gateway(tmp_path / "two", f"--model=words={model}", data_dir=killed.data_dir) as gateway, sdk(gateway) as client:
        assert said(chat(client, max_tokens=10)) == answer


def test_a_gateway_that_stops_lets_streams_end(tmp_path, model):
    with support.Gateway(tmp_path, f"--model=words={model}") as gateway, sdk(gateway) as client:
        options = {"max_tokens": 3000, "extra_body": {"ignore_eos": True}}
        whole = said(chat(client, **options))
        stream = iter(chat(client, stream=True, **options))
        told = [next(stream), next(stream)]
        gateway.terminate()
        told += list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == whole
        assert told[-1].choices[0].finish_reason == "length"
        assert gateway.wait() == 0


def test_a_gateway_that_stops_does_not_wait_for_ever(tmp_path, model):
    path = config(tmp_path, "[limits]\ndrain_s = 1\n")
    with support.Gateway(tmp_path, f"--config={path}", f"--model=words={model}") as gateway, sdk(gateway) as client:
        with pytest.raises((openai.OpenAIError, httpx2.HTTPError)), chat(client, stream=True, **ENDLESS) as stream:
            for number, chunk in enumerate(stream):
                assert chunk.choices[0].finish_reason is None
                if number == 2:
                    gateway.terminate()
                    started = time.monotonic()
        assert gateway.wait() == 0
        assert time.monotonic() - started < 10
