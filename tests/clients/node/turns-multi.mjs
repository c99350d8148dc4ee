// multi-llm-ts, which Witsy is built on: two streamed turns with a tool. WIRE is one of its engines, or "responses".
import { igniteEngine, Message, Plugin } from "multi-llm-ts";
import { hello, id, model, run, url, weather } from "./case.mjs";

const wire = process.env.WIRE;
const base = { openai: `${url}/v1`, responses: `${url}/v1`, lmstudio: `${url}/v1`, anthropic: url, ollama: process.env.PATH_URL, google: url };
const config = { apiKey: id, baseURL: base[wire], useOpenAIResponsesApi: wire === "responses" };
const engine = igniteEngine(wire === "responses" ? "openai" : wire, config);

class Weather extends Plugin {
  isEnabled = () => true;
  getName = () => "get_weather";
  getDescription = () => "The weather";
  getPreparationDescription = () => "Prepares";
  getRunningDescription = () => "Runs";
  getParameters = () => [{ name: "city", type: "string", description: "its name", required: true }];
  execute = async (_, parameters) => weather(parameters);
}
engine.addPlugin(new Weather());
const chat = { ...engine.buildModel(model), capabilities: { tools: true, vision: false, reasoning: false, caching: false } };

const say = async (thread) => {
  let text = "";
  const calls = [];
  for await (const chunk of engine.generate(chat, thread)) {
    if (chunk.type === "content") text += chunk.text;
    if (chunk.type === "tool" && chunk.done) calls.push({ id: chunk.id, function: chunk.name, args: chunk.call?.params, result: chunk.call?.result });
  }
  const said = new Message("assistant", text);
  said.toolCalls = calls;
  thread.push(said);
  return text;
};

await run({
  async turns() {
    const thread = [new Message("system", "Help."), new Message("user", hello)];
    const first = await say(thread);
    thread.push(new Message("user", "And again"));
    return [first, await say(thread)];
  },
});
