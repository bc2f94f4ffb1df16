"""A server for the tests: well behaved in some of its tools and not in others.

server.py stdio | server.py late, which takes a while to start | server.py http, which prints its port
"""

import os
import socket
import sys
import time
from pathlib import Path

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ElicitRequest, ElicitRequestFormParams, InputRequiredResult, TextContent
from pydantic import BaseModel, Field

server = MCPServer("tests")


class Person(BaseModel):
    name: str = Field(description="Who you are")
    age: int = Field(ge=0)


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts, and tells how far it is."""
    for at in range(1, to + 1):
        await context.report_progress(at, to, f"at {at}")
    return f"counted to {to}"


@server.tool()
async def wait(sign: str) -> str:
    """Waits until it is cancelled, and leaves signs of both."""
    Path(sign).write_text("started\n")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        Path(sign + ".cancelled").write_text("cancelled\n")
        raise


def question() -> ElicitRequest:
    schema = Person.model_json_schema()
    params = ElicitRequestFormParams(message="Who are you?", requested_schema=schema)
    return ElicitRequest(params=params)


@server.tool()
async def ask(context: Context) -> str | InputRequiredResult:
    """Asks the user who they are."""
    if context.protocol_version >= "2026":
        # Since then a server asks by its result, and is called again with the answer.
        answer = (context.input_responses or {}).get("who")
        if answer is None:
            return InputRequiredResult(input_requests={"who": question()})
        if answer.action == "accept":
            person = Person(**answer.content)
            return f"{person.name} is {person.age}"
        return f"the user said {answer.action}"
    answer = await context.elicit("Who are you?", Person)
    if answer.action != "accept":
        return f"the user said {answer.action}"
    return f"{answer.data.name} is {answer.data.age}"


@server.tool()
async def die() -> str:
    """Ends the server."""
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
async def hang() -> str:
    """Says nothing any more."""
    await anyio.sleep_forever()


@server.tool(structured_output=False)
async def flood(bytes: int) -> str:
    """Says more than anyone can read."""
    return "x" * bytes


@server.tool()
async def lie() -> CallToolResult:
    """Gives something else than it declares."""
    return CallToolResult(content=[TextContent(type="text", text="three")], structured_content={"sum": "three"})


def lying() -> None:
    # The library holds servers to what they declare; this one is let off once it has been checked.
    tool = server._tool_manager.get_tool("lie")
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    type(tool).output_schema = property(lambda one: schema if one.name == "lie" else one.fn_metadata.output_schema)


def serve_http() -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    # Whoever reads the port may connect at once.
    listening.listen()
    print(listening.getsockname()[1], flush=True)
    app = server.streamable_http_app()
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    lying()
    if sys.argv[1] == "http":
        serve_http()
    else:
        if sys.argv[1] == "late":
            time.sleep(12)
        server.run("stdio")
