"""Language models in a fleet: placed at one PoP, they answer at every one, streamed as they speak, also when that PoP is lost."""

import contextlib

import openai
import pytest

import gateway as support
import language
import nats
from fleet import Fleet
from test_generation import ENDLESS, busy, chat, idle, said, sdk, user
from test_generation_guests import SMALL_TALK, streamed

ONCE = "[placement]\nmax_replicas = 1\n"
QUESTION = user("Why is the sky blue?")


@pytest.fixture
def fleet(tmp_path):
    support.need("nats-server (apt-get install nats-server)", "REQUIRE_NATS", nats.is_installed())
    with Fleet(tmp_path / "fleet") as fleet:
        yield fleet


def told(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def answered(client, model, **options):
    with contextlib.suppress(openai.APIStatusError):
        return said(chat(client, QUESTION, model, **options))
    return None


def test_a_language_model_answers_everywhere_as_it_speaks_and_again_when_its_pop_is_lost(fleet, tmp_path):
    pops = {name: fleet.start_pop(name, region) for name, region in [("fra1", "eu"), ("nyc1", "us")]}
    fleet.push_model(SMALL_TALK, "small-talk", manifest=ONCE)
    # Answers without end.
    fleet.push_model(language.folder(tmp_path / "words"), "words", manifest=ONCE)
    fleet.deploy_app(support.manifest("rust/chat-guard"), "chat-guard")
    fleet.until_placed("small-talk:1")
    [holder] = fleet.until_placed("words:1")
    [other] = [name for name in pops if name != holder]
    with contextlib.ExitStack() as stack:
        clients = {name: stack.enter_context(sdk(pop)) for name, pop in pops.items()}
        for name, client in clients.items():
            for model in ("small-talk", "words"):
                ask = lambda: answered(client, model, max_tokens=4)
                support.eventually(f"{name} answers for {model}\n{fleet.log_tails()}", ask, 60)

        # The same words everywhere, whole and streamed, and through a guest.
        texts = {answered(client, "small-talk") for client in clients.values()}
        texts |= {told(chat(client, QUESTION, "small-talk", stream=True)) for client in clients.values()}
        assert len(texts) == 1 and texts.pop().startswith("The sky is blue because"), texts
        ask = lambda pop: streamed(pop, "/chat", "What is Headland?")
        guarded = {
            name: support.eventually(f"{name} serves the app", lambda: (a := ask(pop))[0].status == 200 and a, 60)
            for name, pop in pops.items()
        }
        assert len({b"".join(pieces) for _, pieces in guarded.values()}) == 1
        assert all(len(pieces) > 3 for _, pieces in guarded.values()), guarded

        # What was told has come while the other PoP still speaks; whoever leaves ends that.
        stream = chat(clients[other], QUESTION, "words", stream=True, **ENDLESS)
        pieces = [next(stream) for _ in range(20)]
        assert len({chunk.id for chunk in pieces}) == 1 and busy(pops[holder], "words")[0] == 1
        stream.close()
        idle(pops[holder], "words")

        # The PoP is lost in the middle of an answer: the client is told so, and the next is answered from the new place.
        expected = answered(clients[other], "words", max_tokens=30)
        stream = chat(clients[other], QUESTION, "words", stream=True, **ENDLESS)
        next(stream)
        pops[holder].kill()
        with pytest.raises(openai.APIError, match="the answer of model `words` broke off") as lost:
            told(stream)
        assert lost.value.code == "model_unreachable"
        for model in ("words", "small-talk"):
            moved = lambda: fleet.placement(f"{model}:1") == [other]
            support.eventually(f"{model} is placed anew\n{fleet.log_tails()}", moved, 60)
        assert answered(clients[other], "words", max_tokens=30) == expected
        assert told(chat(clients[other], QUESTION, "small-talk", stream=True)).startswith("The sky is blue because")
