"""What a user of PyPI's `openai` does, with nothing changed but the address."""

import json, os, sys
from openai import OpenAI, APIStatusError

client = OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"], max_retries=2, timeout=60)

WEATHER = {"name": "get_weather", "description": "The weather of a city.",
           "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}


def models():
    assert {model.id for model in client.models.list()} == {"gpak", "gpak/active"}
    assert client.models.retrieve("gpak/active").id == "gpak/active"
    try:
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "hi"}])
        raise AssertionError("there is no such model")
    except APIStatusError as why:
        assert why.status_code == 404 and why.code == "model_not_found" and "`gpak`" in why.message, why


def chat():
    said = client.chat.completions.create(
        model="gpak", messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "do it"}],
        temperature=0.3, logit_bias={}, user="me", extra_body={"not_known": 1})
    choice = said.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("made a.txt", "stop"), said
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens > 0


def chat_stream():
    chunks = list(client.chat.completions.create(
        model="gpak", messages=[{"role": "user", "content": "do it"}], stream=True,
        stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "made a.txt", chunks
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage.total_tokens > 0


def chat_tools():
    messages = [{"role": "user", "content": "weather?"}]
    tools = [{"type": "function", "function": WEATHER}]
    ask = lambda: client.chat.completions.create(model="gpak", messages=messages, tools=tools)
    said = ask().choices[0]
    assert said.finish_reason == "tool_calls", said
    calls = said.message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Oslo", "Rome"], calls
    messages.append(said.message)
    for call in calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "sun in " + json.loads(call.function.arguments)["city"]})
    done = ask().choices[0]
    assert (done.message.content, done.finish_reason) == ("sun everywhere", "stop"), done
    # The same outputs again are the same answer.
    assert ask().choices[0].message.content == "sun everywhere"


def responses():
    first = client.responses.create(model="gpak", input="do it", instructions="Be brief.", metadata={"a": "b"})
    assert (first.output_text, first.status, first.metadata) == ("made a.txt", "completed", {"a": "b"}), first
    assert first.instructions == "Be brief." and first.usage.total_tokens > 0
    again = client.responses.retrieve(first.id)
    assert again.model_dump() == first.model_dump(), (again, first)
    second = client.responses.create(model="gpak", input="and now?", previous_response_id=first.id)
    assert second.output_text == "and now this" and second.previous_response_id == first.id, second
    # A response can be gone on from more than once.
    third = client.responses.create(model="gpak", input="and now?", previous_response_id=first.id)
    assert third.output_text == "and now this" and third.id != second.id
    try:
        client.responses.retrieve("resp_0_1")
        raise AssertionError("there is no such response")
    except APIStatusError as why:
        assert why.status_code == 404, why


def responses_stream():
    with client.responses.stream(model="gpak", input="do it") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == "made a.txt", final
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    raw = list(client.responses.retrieve(final.id, stream=True))
    assert [event.sequence_number for event in raw] == list(range(len(raw)))
    as_text = [event.to_json() for event in raw]
    for cut in range(len(raw)):
        rest = client.responses.retrieve(final.id, stream=True, starting_after=raw[cut].sequence_number)
        assert as_text[: cut + 1] + [event.to_json() for event in rest] == as_text, cut


def responses_tools():
    tools = [{"type": "function", **WEATHER}, {"type": "web_search"}]
    first = client.responses.create(model="gpak", input="weather?", tools=tools)
    calls = [item for item in first.output if item.type == "function_call"]
    assert len(calls) == 2 and first.status == "completed", first
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "sun"} for call in calls]
    second = client.responses.create(model="gpak", input=outputs, previous_response_id=first.id, tools=tools)
    assert second.output_text == "sun everywhere", second
    assert client.responses.retrieve(second.id).output_text == "sun everywhere"
    # What the first was is not changed by what came after it.
    assert client.responses.retrieve(first.id).model_dump() == first.model_dump()
    # Without the id of the first, as clients do that keep the conversation themselves.
    whole = [{"role": "user", "content": "weather?"}, *[call.model_dump(exclude_none=True) for call in calls], *outputs]
    assert client.responses.create(model="gpak", input=whole, tools=tools).id == second.id
    try:
        client.responses.create(model="gpak", input="x", tools=[{"type": "function", "name": "write_file", "parameters": {}}])
        raise AssertionError("the agent's own tool")
    except APIStatusError as why:
        assert why.status_code == 422 and "another name" in why.message, why


def background():
    first = client.responses.create(model="gpak", input="do it", background=True)
    assert first.status == "in_progress", first
    ended = client.responses.cancel(first.id)
    assert ended.status == "cancelled", ended
    assert client.responses.retrieve(first.id).status == "cancelled"


def mind():
    said = client.chat.completions.create(model="gpak/active", messages=[{"role": "user", "content": "hi"}])
    assert said.choices[0].message.content == "hello there you", said
    chunks = list(client.chat.completions.create(
        model="gpak/active", messages=[{"role": "user", "content": "hi"}], stream=True))
    parts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(parts) == "hello there you" and len(parts) > 1, parts
    assert client.responses.create(model="gpak/active", input="hi").output_text == "hello there you"


def selves():
    assert {model.id for model in client.models.list()} == {"gpak", "gpak/active", "gpak/core"}
    for which in ("active", "core"):
        model, messages = f"gpak/{which}", [{"role": "user", "content": "hi"}]
        assert client.models.retrieve(model).id == model
        said = client.chat.completions.create(model=model, messages=messages)
        assert (said.model, said.choices[0].message.content) == (model, f"I am {which}"), said
        chunks = list(client.chat.completions.create(model=model, messages=messages, stream=True))
        assert {chunk.model for chunk in chunks} == {model}, chunks
        parts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(parts) == f"I am {which}", parts
        said = client.responses.create(model=model, input="hi")
        assert (said.model, said.output_text) == (model, f"I am {which}"), said


globals()[sys.argv[1]]()
