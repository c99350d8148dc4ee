// OpenAI's Agents SDK: two turns with a tool. WIRE is "responses" or "chat_completions".
import { Agent, run as ask, setDefaultOpenAIClient, setOpenAIAPI, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import { hello, id, model, run, url, weather } from "./case.mjs";

setTracingDisabled(true);
setDefaultOpenAIClient(new OpenAI({ baseURL: `${url}/v1`, apiKey: id, maxRetries: 0 }));
setOpenAIAPI(process.env.WIRE);
const parameters = z.object({ city: z.string() });
const tools = [tool({ name: "get_weather", description: "The weather", parameters, execute: weather })];
const agent = new Agent({ name: "here", instructions: "Help.", model, tools });

await run({
  async turns() {
    const first = await ask(agent, hello);
    const second = await ask(agent, [...first.history, { role: "user", content: "And again" }], { stream: true });
    await second.completed;
    return [first.finalOutput, second.finalOutput];
  },
});
