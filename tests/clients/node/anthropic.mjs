// Anthropic's own package.
import Anthropic from "@anthropic-ai/sdk";
import { answer, hello, id, left, model, parameters, run, url, weather } from "./case.mjs";

const client = new Anthropic({ baseURL: url, apiKey: id, maxRetries: 0 });
const messages = [{ role: "user", content: hello }];
const asked = { model, max_tokens: 100, messages };
const text = (message) => message.content.map((block) => block.text ?? "").join("");
const total = ({ usage }) => usage.input_tokens + usage.output_tokens;
const tool = { name: "get_weather", description: "The weather", input_schema: parameters, run: weather };

await run({
  async whole() {
    const made = await client.messages.create(asked);
    return { text: text(made), usage: total(made) };
  },
  async stream() {
    let said = "";
    const stream = client.messages.stream(asked).on("text", (piece) => (said += piece));
    return { text: said, usage: total(await stream.finalMessage()), ...{ text: said } };
  },
  async tool() {
    const run = (stream) => client.beta.messages.toolRunner({ ...asked, tools: [{ type: "custom", ...tool }], stream });
    const streamed = run(true);
    let last;
    for await (const round of streamed) last = await round.finalMessage();
    return { whole: text(await run(false)), stream: text(last) };
  },
  async structured() {
    const format = { type: "json_schema", schema: answer };
    return JSON.parse(text(await client.messages.create({ ...asked, output_config: { format } })));
  },
  async models() {
    return (await client.models.retrieve("demo/demo-chat")).id;
  },
  error: () => client.messages.create(asked),
  async abort() {
    const stream = await client.messages.create({ ...asked, stream: true });
    for await (const event of stream) if (event.type === "content_block_delta") break;
    stream.controller.abort();
    await left();
  },
});
