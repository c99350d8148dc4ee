// Vercel's package, by the provider that WIRE names.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, isStepCount, streamText, tool } from "ai";
import { answer, hello, id, left, model as name, parameters, run, url, weather } from "./case.mjs";

const baseURL = `${url}/v1`;
const model = {
  compatible: () => createOpenAICompatible({ name: "here", baseURL, apiKey: id, includeUsage: true, supportsStructuredOutputs: true })(name),
  responses: () => createOpenAI({ baseURL, apiKey: id }).responses(name),
  messages: () => createAnthropic({ baseURL, apiKey: id })(name),
}[process.env.WIRE]();
const asked = { model, prompt: hello, maxRetries: 0, maxOutputTokens: 100 };
const tools = { get_weather: tool({ description: "The weather", inputSchema: jsonSchema(parameters), execute: weather }) };
const quiet = { onError() {} };

await run({
  async whole() {
    const { text, usage } = await generateText(asked);
    return { text, usage: usage.totalTokens };
  },
  async stream() {
    const made = streamText({ ...asked, ...quiet });
    let text = "";
    for await (const piece of made.textStream) text += piece;
    return { text, usage: (await made.usage).totalTokens };
  },
  async tool() {
    const looped = { ...asked, tools, stopWhen: isStepCount(3) };
    return { whole: (await generateText(looped)).text, stream: await streamText({ ...looped, ...quiet }).text };
  },
  structured: async () => (await generateText({ ...asked, output: Output.object({ schema: jsonSchema(answer) }) })).output,
  error: () => generateText(asked),
  async abort() {
    const control = new AbortController();
    const made = streamText({ ...asked, ...quiet, abortSignal: control.signal });
    for await (const piece of made.textStream) if (piece) break;
    control.abort();
    await left();
  },
});
