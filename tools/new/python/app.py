import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Call, Effect, Error_InvalidInput, ToolSpec


class WitWorld(wit_world.WitWorld):
    def describe(self) -> list[ToolSpec]:
        schema = {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {"text": {"type": "string"}},
        }
        return [
            ToolSpec(
                name="my_tool",
                description="Counts the words of a text.",
                input_schema=json.dumps(schema),
                output_schema=None,
                effect=Effect.PURE,
                can_compensate=False,
                resumable=False,
            )
        ]

    def invoke(self, call: Call) -> str:
        try:
            return json.dumps(run(**json.loads(call.input)))
        except ValueError as error:
            raise Err(Error_InvalidInput(str(error)))


def run(text: str) -> dict:
    """The tool; its ValueError is for the model: what was wrong, and what would be right."""
    words = len(text.split())
    if not words:
        raise ValueError("there are no words in the text")
    return {"words": words}
