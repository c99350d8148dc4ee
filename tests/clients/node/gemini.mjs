// Google's own package.
import { GoogleGenAI } from "@google/genai";
import { answer, hello, id, left, model, parameters, run, url, weather } from "./case.mjs";

const client = new GoogleGenAI({ apiKey: id, httpOptions: { baseUrl: url } });
const asked = { model, contents: hello };
const join = async (chunks) => {
  let text = "";
  let usage = 0;
  for await (const chunk of chunks) {
    text += chunk.text ?? "";
    usage = chunk.usageMetadata?.totalTokenCount ?? usage;
  }
  return { text, usage };
};
const tools = [{ functionDeclarations: [{ name: "get_weather", description: "The weather", parametersJsonSchema: parameters }] }];

// A chat keeps the history itself; its user calls the functions.
const converse = async (send) => {
  const chat = client.chats.create({ model, config: { tools } });
  let { text, calls } = await send(chat, hello);
  while (calls.length) {
    const message = calls.map(({ id, name, args }) => ({ functionResponse: { id, name, response: { output: weather(args) } } }));
    ({ text, calls } = await send(chat, message));
  }
  return text;
};
const sendWhole = async (chat, message) => {
  const made = await chat.sendMessage({ message });
  return { text: made.text, calls: made.functionCalls ?? [] };
};
const sendStreamed = async (chat, message) => {
  let text = "";
  const calls = [];
  for await (const chunk of await chat.sendMessageStream({ message })) {
    text += chunk.text ?? "";
    calls.push(...(chunk.functionCalls ?? []));
  }
  return { text, calls };
};

await run({
  async whole() {
    return join([await client.models.generateContent(asked)]);
  },
  async stream() {
    return join(await client.models.generateContentStream(asked));
  },
  async tool() {
    return { whole: await converse(sendWhole), stream: await converse(sendStreamed) };
  },
  async structured() {
    const config = { responseMimeType: "application/json", responseJsonSchema: answer };
    return JSON.parse((await client.models.generateContent({ ...asked, config })).text);
  },
  async models() {
    return (await client.models.get({ model: "demo/demo-chat" })).name.replace("models/", "");
  },
  error: () => client.models.generateContent(asked),
  async abort() {
    const controller = new AbortController();
    const config = { abortSignal: controller.signal };
    for await (const chunk of await client.models.generateContentStream({ ...asked, config })) if (chunk.text) break;
    controller.abort();
    await left();
  },
});
