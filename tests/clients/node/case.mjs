// What every script here does: takes an address, a client id, a model and the name of a case, prints one line of JSON.
export const [url, id, model, wanted] = process.argv.slice(2);
export const hello = "Hello";
export const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
export const answer = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};
export const weather = ({ city }) => `Sunny in ${city}`;
export const tell = (value) => console.log(JSON.stringify(value));

// Tells when it has left, and stays: it is the client that hangs up, not the end of its process.
export const left = async () => {
  tell("left");
  await new Promise((resolve) => setTimeout(resolve, 20000));
};

export const run = async (cases) => {
  try {
    tell((await cases[wanted]()) ?? null);
  } catch (error) {
    const headers = error.headers ?? error.responseHeaders;
    const header = typeof headers?.get === "function" ? headers.get("retry-after") : headers?.["retry-after"];
    tell({ error: error.constructor.name, status: error.status ?? error.statusCode ?? error.status_code, message: error.message, retryAfter: header ?? null });
  }
};
