// OpenAI's own package, over Responses.
import OpenAI from "openai";
import { answer, hello, id, left, model, parameters, run, url, weather } from "./case.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: id, maxRetries: 0 });
const tools = [{ type: "function", name: "get_weather", description: "The weather", parameters, strict: true }];
const ask = {
  whole: (input) => client.responses.create({ model, input, tools }),
  stream: async (input) => {
    const stream = client.responses.stream({ model, input, tools });
    for await (const _ of stream);
    return stream.finalResponse();
  },
};
const loop = async (ask) => {
  const input = [{ role: "user", content: hello }];
  const first = await ask(input);
  input.push(...first.output);
  for (const item of first.output)
    if (item.type === "function_call")
      input.push({ type: "function_call_output", call_id: item.call_id, output: weather(JSON.parse(item.arguments)) });
  return (await ask(input)).output_text;
};

await run({
  async whole() {
    const made = await client.responses.create({ model, input: hello });
    return { text: made.output_text, usage: made.usage.total_tokens };
  },
  async stream() {
    let text = "", usage;
    const stream = await client.responses.create({ model, input: hello, stream: true });
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === "response.completed") usage = event.response.usage.total_tokens;
    }
    return { text, usage };
  },
  tool: async () => ({ whole: await loop(ask.whole), stream: await loop(ask.stream) }),
  async structured() {
    const format = { type: "json_schema", name: "answer", strict: true, schema: answer };
    return (await client.responses.parse({ model, input: hello, text: { format } })).output_parsed;
  },
  error: () => client.responses.create({ model, input: hello }),
  async abort() {
    const stream = await client.responses.create({ model, input: hello, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    stream.controller.abort();
    await left();
  },
});
