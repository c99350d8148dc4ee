// Version 6 of Vercel's AI SDK with its default API, Responses: two turns with a tool.
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai6";
import { createOpenAI } from "ai6-openai";
import { hello, id, model, parameters, run, url, weather } from "./case.mjs";

const provider = createOpenAI({ baseURL: `${url}/v1`, apiKey: id });
const tools = { get_weather: tool({ description: "The weather", inputSchema: jsonSchema(parameters), execute: weather }) };
const common = { model: provider(model), tools, stopWhen: stepCountIs(4), maxRetries: 0 };

await run({
  async turns() {
    const messages = [{ role: "user", content: hello }];
    const first = await generateText({ ...common, messages });
    messages.push(...first.response.messages, { role: "user", content: "And again" });
    const second = streamText({ ...common, messages, onError: ({ error }) => { throw error; } });
    return [first.text, await second.text];
  },
});
