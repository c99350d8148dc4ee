// Ollama's own package.
import { Ollama } from "ollama";
import { answer, hello, id, left, model, parameters, run, url, weather } from "./case.mjs";

const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${id}` } });
const messages = [{ role: "user", content: hello }];
const tools = [{ type: "function", function: { name: "get_weather", description: "The weather", parameters } }];
const ask = {
  whole: async (messages) => (await client.chat({ model, messages, tools })).message,
  stream: async (messages) => {
    const whole = { role: "assistant", content: "", tool_calls: [] };
    for await (const { message } of await client.chat({ model, messages, tools, stream: true })) {
      whole.content += message.content;
      whole.tool_calls.push(...(message.tool_calls ?? []));
    }
    return whole;
  },
};
const loop = async (ask) => {
  const said = await ask(messages);
  const results = said.tool_calls.map((call) => ({ role: "tool", tool_name: call.function.name, content: weather(call.function.arguments) }));
  return (await ask([...messages, said, ...results])).content;
};

await run({
  async whole() {
    const made = await client.chat({ model, messages });
    return { text: made.message.content, usage: made.prompt_eval_count + made.eval_count };
  },
  async stream() {
    let text = "", usage;
    for await (const part of await client.chat({ model, messages, stream: true })) {
      text += part.message.content;
      if (part.done) usage = part.prompt_eval_count + part.eval_count;
    }
    return { text, usage };
  },
  tool: async () => ({ whole: await loop(ask.whole), stream: await loop(ask.stream) }),
  structured: async () => JSON.parse((await client.chat({ model, messages, format: answer })).message.content),
  error: () => client.chat({ model, messages }),
  async abort() {
    const stream = await client.chat({ model, messages, stream: true });
    for await (const part of stream) if (part.message.content) break;
    client.abort();
    await left();
  },
});
