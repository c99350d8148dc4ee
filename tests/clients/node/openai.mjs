// OpenAI's own package, over Chat Completions.
import OpenAI from "openai";
import { answer, hello, id, left, model, parameters, run, tell, url, weather } from "./case.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: id, maxRetries: 0 });
const messages = [{ role: "user", content: hello }];
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather", parameters } }];

await run({
  async whole() {
    const made = await client.chat.completions.create({ model, messages });
    return { text: made.choices[0].message.content, usage: made.usage.total_tokens };
  },
  async stream() {
    let text = "", usage;
    const stream = await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage?.total_tokens ?? usage;
    }
    return { text, usage };
  },
  async tool() {
    const run = (stream) => client.chat.completions.runTools({
      model, messages, stream,
      tools: [{ type: "function", function: { ...tools[0].function, parse: JSON.parse, function: weather } }],
    });
    return { whole: await run(false).finalContent(), stream: await run(true).finalContent() };
  },
  async structured() {
    const made = await client.chat.completions.parse({
      model, messages, response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: answer } },
    });
    return JSON.parse(made.choices[0].message.content);
  },
  async models() {
    return (await client.models.retrieve("demo/demo-chat")).id;
  },
  error: () => client.chat.completions.create({ model, messages }),
  async abort() {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) if (chunk.choices[0]?.delta?.content) break;
    stream.controller.abort();
    await left();
  },
});
