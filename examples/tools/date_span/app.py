import json
from datetime import date, timedelta

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import Call, Effect, Error_InvalidInput, ToolSpec

DATE = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
# Working days are counted one by one.
MOST_DAYS = 400 * 366


class WitWorld(wit_world.WitWorld):
    def describe(self) -> list[ToolSpec]:
        schema = {
            "type": "object",
            "required": ["from", "to"],
            "additionalProperties": False,
            "properties": {
                "from": DATE,
                "to": DATE,
                "holidays": {"type": "array", "items": DATE},
            },
        }
        return [
            ToolSpec(
                name="date_span",
                description="How far it is from one date (YYYY-MM-DD) to another, the second not counted: days, "
                "weeks, working days (Monday to Friday, without the holidays given), and both weekdays.",
                input_schema=json.dumps(schema),
                output_schema=None,
                effect=Effect.PURE,
                can_compensate=False,
                resumable=False,
            )
        ]

    def invoke(self, call: Call) -> str:
        try:
            given = json.loads(call.input)
            return json.dumps(span(given["from"], given["to"], given.get("holidays", [])))
        except ValueError as error:
            raise Err(Error_InvalidInput(str(error)))


def parsed(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text} is no date: {error}")


def span(start: str, end: str, holidays: list[str]) -> dict:
    first, last = parsed(start), parsed(end)
    free = {parsed(day) for day in holidays}
    days = (last - first).days
    if abs(days) > MOST_DAYS:
        raise ValueError(f"{start} and {end} are more than 400 years apart")
    earlier = min(first, last)
    between = (earlier + timedelta(day) for day in range(abs(days)))
    working = sum(day.weekday() < 5 and day not in free for day in between)
    return {
        "from": first.strftime("%A"),
        "to": last.strftime("%A"),
        "days": days,
        "working_days": working if days >= 0 else -working,
        "weeks": round(days / 7, 2),
    }
