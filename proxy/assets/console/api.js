// Calls the proxy with the key, which is kept in this tab alone.

const STORED = "sagemaker-proxy-key";
const ASCII = /^[\t\x20-\x7e]*$/;
const BLANK_LINE = /\r?\n\r?\n/;

export const storedKey = () => sessionStorage.getItem(STORED);
export const keepKey = (key) => sessionStorage.setItem(STORED, key);
export const forgetKey = () => sessionStorage.removeItem(STORED);

// A call that was not answered as it should. Status 0: not answered at all.
export class ApiError extends Error {
  constructor(status, message, { code = null, requestId = null } = {}) {
    super(sentence(message));
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

const UNREACHABLE = new ApiError(
  0,
  "The proxy does not answer. It may be stopped, or this browser is offline.",
);
const NO_HEADER = new ApiError(0, "A header can hold nothing but ASCII, in one line.");

// The response, whatever its status. Throws ApiError only if there is none.
export async function send(path, { method = "GET", body, headers = {}, signal } = {}) {
  if (!Object.values(headers).every((value) => ASCII.test(value))) throw NO_HEADER;
  try {
    return await fetch(path, {
      method,
      body,
      headers: { Authorization: `Bearer ${storedKey()}`, ...headers },
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    throw error.name === "AbortError" ? error : UNREACHABLE;
  }
}

// A good response. Throws ApiError for any other.
export async function call(path, options = {}) {
  const key = storedKey();
  const response = await send(path, options);
  if (response.ok) return response;
  const error = await toError(response);
  // A container may answer 401, too.
  if (error.code === "invalid_api_key") tellRefused(key);
  throw error;
}

// The proxy has refused `key`, which by now may be that of somebody else who has left.
export function tellRefused(key) {
  if (key === storedKey()) document.dispatchEvent(new CustomEvent("key-refused"));
}

export async function callJson(path, options = {}) {
  return (await call(path, options)).json();
}

async function toError(response) {
  const text = await response.text();
  let message = text.slice(0, 1000) || `The proxy answered ${response.status}.`;
  let code = null;
  try {
    const parsed = JSON.parse(text);
    code = parsed.error?.code;
    message = parsed.error?.message ?? parsed.message ?? parsed.detail ?? message;
  } catch {
    // It is no JSON, but it is all there is.
  }
  return new ApiError(response.status, String(message), {
    code,
    requestId: response.headers.get("X-Request-Id"),
  });
}

// The server-sent events of a response: { data } or { comment }.
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let begun = []; // the pieces of an event that has not ended
  let tail = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const piece = done ? "\n\n" : value;
      begun.push(piece);
      tail += piece;
      const ends = BLANK_LINE.test(tail);
      tail = tail.slice(-3);
      if (!ends) continue;
      const parts = begun.join("").split(BLANK_LINE);
      begun = [parts.pop()];
      for (const part of parts) {
        const lines = part.split(/\r?\n/);
        const data = lines.filter((line) => line.startsWith("data:"));
        if (data.length) yield { data: data.map((line) => line.slice(5).trimStart()).join("\n") };
        for (const line of lines) if (line.startsWith(":")) yield { comment: line.slice(1).trim() };
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
