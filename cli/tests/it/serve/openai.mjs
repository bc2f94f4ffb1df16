// What a user of npm's `openai` does, with nothing changed but the address.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.URL + "/v1", apiKey: process.env.KEY, timeout: 60_000 });
const WEATHER = {
  name: "get_weather",
  description: "The weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const city = (call) => JSON.parse(call.arguments ?? call.function.arguments).city;

const does = {
  async chat() {
    const messages = [{ role: "user", content: "do it" }];
    const said = await client.chat.completions.create({ model: "gpak", messages });
    assert.equal(said.choices[0].message.content, "made a.txt");
    let text = "";
    for await (const chunk of await client.chat.completions.create({ model: "gpak", messages, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
    assert.equal(text, "made a.txt");
    await assert.rejects(
      client.chat.completions.create({ model: "gpt-9", messages }),
      (why) => why.status === 404 && why.code === "model_not_found",
    );
  },
  async responses() {
    const stream = client.responses.stream({ model: "gpak", input: "do it" });
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds[0], "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    const first = await stream.finalResponse();
    assert.equal(first.output_text, "made a.txt");
    const more = { model: "gpak", input: "and now?", previous_response_id: first.id };
    assert.equal((await client.responses.create(more)).output_text, "and now this");
  },
  async tools() {
    const tools = [{ type: "function", function: WEATHER }];
    const messages = [{ role: "user", content: "weather?" }];
    const [choice] = (await client.chat.completions.create({ model: "gpak", messages, tools })).choices;
    assert.equal(choice.finish_reason, "tool_calls");
    assert.deepEqual(choice.message.tool_calls.map(city), ["Oslo", "Rome"]);
    messages.push(choice.message);
    for (const call of choice.message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: `sun in ${city(call)}` });
    }
    const [done] = (await client.chat.completions.create({ model: "gpak", messages, tools })).choices;
    assert.equal(done.message.content, "sun everywhere");
  },
};

await does[process.argv[2]]();
