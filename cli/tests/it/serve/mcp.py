"""PyPI's `mcp`, unmodified, against gpak: what the first argument names is done, or an assertion fails."""

import asyncio
import json
import os
import sys

import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

URL = os.environ.get("URL", "") + "/mcp"
KEY = os.environ.get("KEY", "")
MODERN, LEGACY = "2026-07-28", "legacy"
MODES = [MODERN, LEGACY]


def answering(action, content=None, asked=None):
    async def answer(context, params):
        if asked is not None:
            asked.append(params.message)
        return types.ElicitResult(action=action, content=content)

    return answer


def http(mode, key=KEY, **more):
    """A client over HTTP, with that key."""
    transport = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)
    return Client(streamable_http_client(URL, http_client=transport), mode=mode, **more)


def stdio(mode, **more):
    """A client of a process of its own."""
    command = os.environ["GPAK"]
    args = ["mcp", "--model", os.environ["MODEL"], "-C", os.environ["WORK"]]
    server = StdioServerParameters(command=command, args=args, env=dict(os.environ))
    return Client(server, mode=mode, **more)


def text(result):
    return "".join(part.text for part in result.content)


async def tools(make):
    for mode in MODES:
        async with make(mode) as client:
            assert client.protocol_version == (MODERN if mode == MODERN else "2025-11-25"), client.protocol_version
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            for name in ["read_file", "write_file", "remember", "recall", "run_task", "look_at_run"]:
                assert name in listed, sorted(listed)
            for name in ["finish", "ask_user", "update_plan", "read_history"]:
                assert name not in listed, sorted(listed)
            assert listed["read_file"].annotations.read_only_hint is True
            assert listed["run_command"].annotations.destructive_hint is True
            result = await client.call_tool("read_file", {"path": "plums.txt"})
            assert not result.is_error and "nine plums" in text(result), result
            result = await client.call_tool("read_file", {"path": "../outside.txt"})
            assert result.is_error, result
            result = await client.call_tool("read_file", {"pth": "plums.txt"})
            assert result.is_error and "path" in text(result), result
            try:
                await client.call_tool("no_such_tool", {})
                raise SystemExit("a tool that is not there was called")
            except MCPError as why:
                assert "no_such_tool" in str(why), why


async def asked(make):
    for mode in MODES:
        path = f"{mode}.txt"
        said = []
        async with make(mode, elicitation_callback=answering("accept", {"decision": "allow"}, said)) as client:
            result = await client.call_tool("write_file", {"path": path, "content": "new\n"})
            assert not result.is_error, result
            assert len(said) == 1 and "write_file" in said[0] and "new" in said[0], said
        async with make(mode, elicitation_callback=answering("decline")) as client:
            result = await client.call_tool("write_file", {"path": "no.txt", "content": "new\n"})
            assert result.is_error, result
        async with make(mode) as client:
            result = await client.call_tool("write_file", {"path": "no.txt", "content": "new\n"})
            assert result.is_error, result


async def remembers(make):
    async with make(MODERN, elicitation_callback=answering("accept", {"decision": "allow"})) as client:
        result = await client.call_tool("remember", {"fact": "The plums of Anna weigh nine pounds."})
        assert not result.is_error, result
        result = await client.call_tool("recall", {"query": "What do Anna's plums weigh?"})
        assert not result.is_error and "nine pounds" in text(result), result


async def reads(make):
    for mode in MODES:
        async with make(mode) as client:
            await client.call_tool("read_file", {"path": "plums.txt"})
            listed = (await client.list_resources()).resources
            assert listed and str(listed[0].uri).startswith("gpak://runs/"), listed
            assert "read_file" in listed[0].name, listed[0]
            uri = str(listed[0].uri)
            read = (await client.read_resource(uri)).contents
            assert "nine plums" in read[0].text and read[0].text.startswith("run "), read
            read = (await client.read_resource(uri + "/events")).contents
            entries = [json.loads(line) for line in read[0].text.splitlines()]
            assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1)), entries
            templates = (await client.list_resource_templates()).resource_templates
            names = [str(one.uri_template) for one in templates]
            assert names == ["gpak://runs/{run}", "gpak://runs/{run}/events"], names
            run = uri.rsplit("/", 1)[1]
            reference = types.ResourceTemplateReference(type="ref/resource", uri=names[0])
            values = (await client.complete(reference, {"name": "run", "value": run[:9]})).completion.values
            assert values == [run], values
            for gone in ["gpak://runs/" + "0" * 32, "gpak://runs/../x", "file:///etc/passwd"]:
                try:
                    await client.read_resource(gone)
                    raise SystemExit(f"{gone} was read")
                except MCPError as why:
                    code = -32602 if mode == MODERN else -32002
                    assert why.error.code == code and why.error.data == {"uri": gone}, why.error
            prompts = (await client.list_prompts()).prompts
            assert [(one.name, one.description) for one in prompts] == [("tidy", "How to tidy up here.")], prompts
            got = await client.get_prompt("tidy", {"task": "Tidy the cellar."})
            said = got.messages[0].content.text
            assert "Put plums into baskets." in said and said.endswith("Tidy the cellar."), said
            try:
                await client.get_prompt("no-such", {})
                raise SystemExit("a prompt that is not there was had")
            except MCPError as why:
                assert why.error.code == -32602, why.error
    if make is http:
        # What another user asked for is not theirs to read.
        async with make(MODERN, os.environ["OTHER"]) as client:
            assert (await client.list_resources()).resources == []
            try:
                await client.read_resource(uri)
                raise SystemExit("a run of somebody else was read")
            except MCPError:
                pass


async def task(make):
    for mode in MODES:
        steps = []

        async def step(progress, total, message):
            steps.append(message)

        said = []
        async with make(mode, elicitation_callback=answering("accept", {"decision": "allow"}, said)) as client:
            result = await client.call_tool("run_task", {"task": "write a.txt"}, progress_callback=step)
            assert not result.is_error and text(result) == "made a.txt", result
            assert len(said) == 1 and "write_file" in said[0], said
            found = result.structured_content
            assert found["status"] == "completed" and found["answer"] == "made a.txt", found
            assert any("call 1.0" in step for step in steps), steps
            again = await client.call_tool("look_at_run", {"run": found["run"]})
            assert again.structured_content == found, again
            result = await client.call_tool("run_task", {"job": "x"})
            assert result.is_error and "job" in text(result), result


async def refused(make):
    viewer = os.environ["VIEWER"]
    async with http(MODERN, key=viewer) as client:
        assert (await client.list_tools()).tools
        for name, args in [("read_file", {"path": "plums.txt"}), ("run_task", {"task": "x"})]:
            try:
                await client.call_tool(name, args)
                raise SystemExit("a viewer called a tool")
            except MCPError as why:
                assert "operator" in str(why), why
    async with http(MODERN, elicitation_callback=answering("accept", {"decision": "allow"})) as client:
        ran = await client.call_tool("run_task", {"task": "write a.txt"})
    async with http(MODERN, key=os.environ["OTHER"]) as client:
        other = await client.call_tool("look_at_run", {"run": ran.structured_content["run"]})
        assert other.is_error and "no run" in text(other), other
    for headers in [{}, {"Authorization": "Bearer wrong"}]:
        async with httpx2.AsyncClient() as plain:
            answer = await plain.post(URL, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers)
            assert answer.status_code == 401, answer


class Raw:
    """Requests of the newest protocol, one by one."""

    def __init__(self, capabilities, key=KEY):
        headers = {"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"}
        self.client = httpx2.AsyncClient(headers={**headers, "MCP-Protocol-Version": MODERN}, timeout=60)
        self.capabilities = capabilities

    async def ask(self, method, params, name=None):
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {"Mcp-Method": method}
        if name:
            headers["Mcp-Name"] = name
        answer = await self.client.post(URL, json=body, headers=headers)
        kind = answer.headers["content-type"]
        if kind.startswith("text/event-stream"):
            lines = [line[5:] for line in answer.text.splitlines() if line.startswith("data:") and line[5:].strip()]
            return json.loads(lines[-1])
        return answer.json()


async def tasks(make):
    raw = Raw({"elicitation": {"form": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}})
    begun = await raw.ask("tools/call", {"name": "run_task", "arguments": {"task": "write a.txt"}}, "run_task")
    made = begun["result"]
    assert made["resultType"] == "task" and made["status"] == "working", begun
    task = made["taskId"]

    async def until(status):
        for _ in range(600):
            found = (await raw.ask("tasks/get", {"taskId": task}, task))["result"]
            if found["status"] == status:
                return found
            assert found["status"] in ("working", "input_required"), found
            await asyncio.sleep(0.05)
        raise SystemExit(f"it is not {status}: {found}")

    waits = await until("input_required")
    [(key, request)] = waits["inputRequests"].items()
    assert request["method"] == "elicitation/create" and "write_file" in request["params"]["message"], waits
    answer = {"action": "accept", "content": {"decision": "allow"}}
    said = await raw.ask("tasks/update", {"taskId": task, "inputResponses": {key: answer}}, task)
    assert "result" in said, said
    done = await until("completed")
    assert done["result"]["content"][0]["text"] == "made a.txt", done
    gone = await raw.ask("tasks/get", {"taskId": "0" * 32}, "0" * 32)
    assert gone["error"]["code"] == -32602, gone
    # A state that is none, and one of somebody else.
    for state in ["nonsense", "f" * 32]:
        params = {"name": "read_file", "arguments": {"path": "plums.txt"}, "requestState": state, "inputResponses": {}}
        bad = await raw.ask("tools/call", params, "read_file")
        assert bad["error"]["code"] == -32602, bad
    begun = await raw.ask("tools/call", {"name": "run_task", "arguments": {"task": "write b.txt"}}, "run_task")
    task = begun["result"]["taskId"]
    assert "result" in await raw.ask("tasks/cancel", {"taskId": task}, task)
    await until("cancelled")


def main():
    what, way = sys.argv[1], sys.argv[2]
    make = {"http": http, "stdio": stdio}[way]
    asyncio.run(globals()[what](make))


main()
