"""Answers that are held to a form, and calls of tools, through OpenAI's own SDK. The models were never taught either: what they
write has its form because nothing else can be chosen."""

import json
from typing import Annotated, Literal

import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

import gateway as support
import language
from test_batching import at_once
from test_generation import CHAT, HELLO, bias, chat, said, sdk, user

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content or m.tool_calls | tojson }}{% endfor %}<|assistant|>"
# How models are told of tools tells how they write their calls.
TEMPLATES = {
    "tagged": '{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}Call with <tool_call>{"name": ...}</tool_call>.' + TURNS,
    "functions": "Call with <tool_call><function=name><parameter=argument>.{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + TURNS,
    "listed": "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}Call with [TOOL_CALLS]." + TURNS,
    "named": "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}{% endif %}Call with [TOOL_CALLS]name[ARGS]." + TURNS,
    "parameters": '{{ tools | tojson }}Call with {"name": ..., "parameters": ...}.' + TURNS,
    "plain": TURNS,
}


class Weather(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: Literal["Oslo", "Rome", "São Paulo"]
    degrees: Literal[-5, 0, 31]
    sunny: bool
    note: Annotated[str, Field(max_length=6)]


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather is",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"enum": [1, 2, 3]}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
# An object with more properties, each of which may be there or not, than anybody needs.
WIDE = {"type": "object", "properties": {f"key{number}": {"type": "integer"} for number in range(3000)}, "additionalProperties": False}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Models with random weights for each way of calling, and one that was trained."""
    folder = tmp_path_factory.mktemp("forms")
    models = {name: language.folder(folder / name, template=template) for name, template in TEMPLATES.items()}
    models["small-talk"] = support.ROOT / "models/small-talk"
    with support.Gateway(folder / "gateway", *[f"--model={name}={at}" for name, at in models.items()]) as running:
        yield running


@pytest.fixture(scope="module")
def client(words):
    with sdk(words) as client:
        yield client


def schema(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "form", "schema": schema, **more}}


def calls(message):
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]


def streamed(chunks):
    """Calls as they were put together from a stream: each begins with its name and no arguments, which come after."""
    told = []
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            if call.index == len(told):
                assert call.id and call.type == "function" and call.function.arguments == "", call
                told.append([call.id, call.function.name, []])
            else:
                assert call.index == len(told) - 1 and call.id is None and call.function.name is None, call
                told[-1][2].append(call.function.arguments)
    return told


def is_sensible(name, arguments):
    if name == "now":
        return arguments == {}
    return name == "weather" and set(arguments) == {"city", "days"} and arguments["city"] in ("Oslo", "Rome") and arguments["days"] in (1, 2, 3)


# Forms


@pytest.mark.parametrize("model", ["plain", "small-talk"])
def test_the_sdk_gets_an_object_of_its_class(client, model):
    answer = client.chat.completions.parse(model=model, messages=HELLO, temperature=0, max_tokens=500, response_format=Weather)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop" and isinstance(choice.message.parsed, Weather)
    options = {"model": model, "messages": HELLO, "temperature": 0, "max_tokens": 500}
    with client.chat.completions.stream(response_format=Weather, **options) as stream:
        told = "".join(event.delta for event in stream if event.type == "content.delta")
        assert stream.get_final_completion().choices[0].message.parsed == choice.message.parsed
    assert told == choice.message.content


def test_every_answer_has_the_form_however_it_is_drawn_and_nobody_elses_changes(client):
    form = schema(Weather.model_json_schema(), strict=True)
    free = said(chat(client, model="plain", max_tokens=80))

    def ask(seed):
        if seed % 3 == 0:
            return said(chat(client, model="plain", max_tokens=80)) == free
        answer = chat(client, model="plain", temperature=1.5, seed=seed, max_tokens=900, response_format=form)
        return answer.choices[0].finish_reason == "stop" and Weather.model_validate_json(said(answer))

    assert all(at_once(ask, range(24), 12))


def test_several_answers_each_have_the_form(client):
    form = schema({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3})
    answer = chat(client, model="plain", temperature=1, seed=1, n=4, max_tokens=300, response_format=form)
    lists = [json.loads(choice.message.content) for choice in answer.choices]
    assert all(2 <= len(each) <= 3 and set(each) <= {"a", "b"} for each in lists), lists


def test_an_object_of_any_kind_is_one(client):
    answer = chat(client, model="plain", max_tokens=50, response_format={"type": "json_object"}, logit_bias=bias("}"))
    assert (json.loads(said(answer)), answer.choices[0].finish_reason) == ({}, "stop")


def test_an_answer_that_is_cut_off_is_the_sdks_length_error(client):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="plain", messages=HELLO, max_tokens=4, response_format=Weather)


def test_text_is_held_to_nothing(client):
    free = said(chat(client, user("What is Headland?"), "small-talk"))
    assert said(chat(client, user("What is Headland?"), "small-talk", response_format={"type": "text"})) == free


# Calls


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_call_that_is_required_comes_as_a_call(client, model):
    options = {"tools": [WEATHER, NOW], "tool_choice": "required", "max_tokens": 1500}
    choice = chat(client, model=model, **options).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    assert choice.message.tool_calls and all(is_sensible(*call) for call in calls(choice.message))
    assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)
    # The stream brings the same.
    chunks = list(chat(client, model=model, stream=True, **options))
    told = streamed(chunks)
    assert [(name, json.loads("".join(pieces))) for _, name, pieces in told] == calls(choice.message)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert not any(chunk.choices[0].delta.content for chunk in chunks)


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_tool_that_is_named_is_called_once(client, model):
    named = {"type": "function", "function": {"name": "weather"}}
    for seed in range(4):
        message = chat(
            client, model=model, temperature=1, seed=seed, max_tokens=600, tools=[WEATHER, NOW], tool_choice=named, parallel_tool_calls=False
        ).choices[0].message
        (call,) = calls(message)
        assert call[0] == "weather" and is_sensible(*call)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("model", "begin"), [("tagged", "<tool_call>"), ("functions", "<tool_call>"), ("listed", "[TOOL_CALLS]"), ("named", "[TOOL_CALLS]")])
def test_a_call_that_a_model_begins_of_its_own_will_is_held_to_its_schema(client, model, begin, stream):
    options = {"tools": [WEATHER, NOW], "parallel_tool_calls": False, "max_tokens": 900, "logit_bias": bias(begin)}
    for seed in range(4):
        if stream:
            chunks = list(chat(client, model=model, temperature=1, seed=seed, stream=True, **options))
            made = [(name, json.loads("".join(pieces))) for _, name, pieces in streamed(chunks)]
            reason = chunks[-1].choices[0].finish_reason
        else:
            choice = chat(client, model=model, temperature=1, seed=seed, **options).choices[0]
            made, reason = calls(choice.message), choice.finish_reason
        assert reason == "tool_calls" and len(made) == 1 and is_sensible(*made[0]), made


@pytest.mark.parametrize("model", TEMPLATES)
def test_the_sdk_puts_a_call_together_whose_arguments_are_streamed(client, model):
    text = {"type": "object", "properties": {"text": {"type": "string", "minLength": 400, "maxLength": 500}}, "required": ["text"]}
    note = {"type": "function", "function": {"name": "note", "parameters": text | {"additionalProperties": False}}}
    options = {"tools": [note], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 2500, "logit_bias": bias(*"abcd", by=8)}
    whole = calls(chat(client, model=model, **options).choices[0].message)
    pieces = []
    with client.chat.completions.stream(model=model, messages=HELLO, temperature=0, **options) as stream:
        for event in stream:
            if event.type == "tool_calls.function.arguments.delta":
                pieces.append(event.arguments_delta)
        final = stream.get_final_completion().choices[0].message
    assert calls(final) == whole and json.loads("".join(pieces)) == whole[0][1]
    assert 400 <= len(whole[0][1]["text"]) <= 500
    # What is written faster than it is read comes together; not all of it does.
    assert len(pieces) > 3, pieces


def test_a_call_that_is_cut_off_is_told_as_far_as_it_came(client):
    options = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    choice = chat(client, model="named", max_tokens=900, **options).choices[0]
    whole = choice.message.tool_calls[0].function.arguments
    tokens = chat(client, model="named", max_tokens=900, **options).usage.completion_tokens
    cut = chat(client, model="named", max_tokens=tokens - 4, **options).choices[0]
    arguments = cut.message.tool_calls[0].function.arguments
    assert cut.finish_reason == "length" and len(arguments) < len(whole) and whole.startswith(arguments)


@pytest.mark.parametrize("model", TEMPLATES)
@pytest.mark.parametrize("form", ["schema", "object"])
def test_an_answer_of_a_form_has_it_or_is_a_call(client, model, form):
    """Both are allowed, and nothing else is: what the model says first decides."""
    shape = {"type": "object", "properties": {"name": {"enum": ["Ada", "Alan"]}}, "required": ["name"], "additionalProperties": False}
    format = schema(shape) if form == "schema" else {"type": "json_object"}
    options = {"tools": [WEATHER, NOW], "response_format": format, "max_tokens": 900}
    marker = {"tagged": "<tool_call>", "functions": "<tool_call>", "listed": "[TOOL_CALLS]", "named": "[TOOL_CALLS]"}.get(model)
    answered = called = 0
    for seed in range(6):
        # Nobody is likely to end of its own will: what closes an object is liked.
        liked = bias(marker, by=100 if seed % 2 else -100) if marker else {}
        choice = chat(client, model=model, temperature=1, seed=seed, logit_bias=bias("}") | liked, **options).choices[0]
        if choice.finish_reason == "length":
            continue
        if choice.finish_reason == "tool_calls":
            assert choice.message.content is None and all(is_sensible(*call) for call in calls(choice.message))
            called += 1
        else:
            answer = json.loads(choice.message.content)
            assert choice.message.tool_calls is None and isinstance(answer, dict)
            assert form == "object" or answer in ({"name": "Ada"}, {"name": "Alan"}), answer
            answered += 1
    assert (answered > 0 and called > 0) if marker else answered + called > 0, (answered, called)


def test_a_model_that_need_not_call_answers(client):
    question = user("What is Headland?")
    plain = said(chat(client, question, "small-talk"))
    for options in ({"tools": [WEATHER]}, {"tools": [WEATHER], "tool_choice": "none"}, {"tools": []}):
        choice = chat(client, question, "small-talk", **options).choices[0]
        assert (choice.message.content, choice.finish_reason, choice.message.tool_calls) == (plain, "stop", None)
        told = list(chat(client, question, "small-talk", stream=True, **options))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == plain


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_conversation_goes_on_after_a_call(client, model):
    tools = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    called = chat(client, model=model, max_tokens=600, **tools).choices[0].message
    result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": '{"degrees": 7}'}
    answer = chat(client, [*HELLO, called, result], model, max_tokens=10, tools=[WEATHER])
    assert answer.usage.completion_tokens <= 10 and answer.choices[0].finish_reason in ("stop", "length")


def test_a_model_is_told_of_its_tools(client):
    without, told = (chat(client, model="tagged", max_tokens=1, **tools).usage.prompt_tokens for tools in ({}, {"tools": [WEATHER]}))
    assert told > without + 50
    hidden = chat(client, model="tagged", max_tokens=1, tools=[WEATHER], tool_choice="none")
    assert hidden.usage.prompt_tokens == without


# Bad input


@pytest.mark.parametrize(
    ("options", "param", "expected"),
    [
        ({"response_format": schema({"type": "integer", "minimum": 5, "maximum": 3})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema({"enum": []})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema({"type": "string", "pattern": "("})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema({"$ref": "#/nowhere"})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema({"$ref": "https://example.com/schema"})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema({"type": "elephant"})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema([])}, "response_format", "a schema is an object"),
        ({"response_format": schema({"enum": ["x" * 1000] * 300})}, "response_format", "262144 at most"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format", "xml"),
        ({"response_format": schema({}, stict=True)}, "response_format", "stict"),
        ({"tools": [{"type": "retrieval"}]}, "tools", "tool 0"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools", "name"),
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools", "letters, digits"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "another function called `weather`"),
        ({"tools": [WEATHER] * 129}, "tools", "128 at most"),
        ({"tools": [WEATHER], "tool_choice": "always"}, "tool_choice", "`required`"),
        ({"tools": [NOW], "tool_choice": {"type": "function", "function": {"name": "weather"}}}, "tool_choice", "`weather`"),
        ({"tool_choice": "required"}, "tool_choice", "there are no `tools`"),
        ({"tools": [WEATHER], "response_format": schema({"enum": []})}, "response_format", "cannot be held to the schema"),
        ({"response_format": schema(WIDE)}, "response_format", "3000 ways at one place; 200 at most"),
        ({"response_format": schema({"type": "array", "items": WIDE})}, "response_format", "3000 ways at one place; 200 at most"),
        ({"tools": [{"type": "function", "function": {"name": "wide", "parameters": WIDE}}]}, "tools", "the parameters of `wide`"),
        ({"messages": [*HELLO, {"role": "user", "content": "x", "tool_calls": []}]}, "messages", "tool_calls"),
        ({"functions": [WEATHER["function"]]}, "functions", "not supported"),
    ],
)
def test_a_form_that_cannot_be_is_400_and_says_why(client, words, options, param, expected):
    body = {"model": "plain", "messages": HELLO, "max_tokens": 4} | options
    for stream in (False, True):
        answer = words.post(CHAT, json_body=body | {"stream": stream})
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "invalid_input", param), answer.text
        assert expected in error["message"], error["message"]
    assert said(chat(client, user("What is Headland?"), "small-talk")).startswith("Headland is")


def test_a_schema_that_is_dear_is_refused_or_answered_and_holds_up_nobody(client, words):
    """Regular expressions that blow up, nesting without end, alternatives by the thousand: bounded, each of them."""
    deep = {"type": "string"}
    for _ in range(200):
        deep = {"type": "object", "properties": {"a": deep}, "required": ["a"]}
    dear = [
        {"type": "string", "pattern": "^(a?){500}a{500}$"},
        {"type": "string", "pattern": "^((a{1,99}){1,99}){1,99}$"},
        {"anyOf": [{"type": "object", "properties": {f"key{n}": {"type": "integer"}}, "required": [f"key{n}"]} for n in range(2000)]},
        deep,
        {"$ref": "#"},
    ]

    def ask(form):
        return words.post(CHAT, json_body={"model": "plain", "messages": HELLO, "max_tokens": 8, "response_format": schema(form)})

    answers = at_once(ask, dear, len(dear))
    assert all(answer.status in (200, 400) for answer in answers), [answer.text[:200] for answer in answers]
    assert said(chat(client, user("What is Headland?"), "small-talk")).startswith("Headland is")


def test_a_stream_whose_form_becomes_too_dear_ends_with_the_error_of_a_whole_answer(client, words):
    form = schema({"type": "string", "pattern": "^((a{1,99}){1,99}){1,99}$"})
    body = {"model": "plain", "messages": HELLO, "max_tokens": 200, "response_format": form, "logit_bias": bias("a")}
    whole = words.post(CHAT, json_body=body)
    error = whole.json()["error"]
    assert (whole.status, error["code"], error["type"]) == (400, "too_much", "invalid_request_error"), whole.text
    assert "cannot be held to the form" in error["message"]
    *begun, last, end = words.post(CHAT, json_body=body | {"stream": True}).text.split("\n\n")
    assert begun and end == "" and json.loads(last.removeprefix("data: "))["error"] == error
    with pytest.raises(openai.APIError) as caught:
        list(chat(client, model="plain", max_tokens=200, response_format=form, logit_bias=bias("a"), stream=True))
    assert (caught.value.code, caught.value.message) == ("too_much", error["message"])
    assert said(chat(client, user("What is Headland?"), "small-talk")).startswith("Headland is")
