// The same call with curl, Python, and by the other APIs. The key is never in it: $API_KEY stands for it.

import { element } from "./elements.js";

const BASE = new URL(".", document.baseURI).href.replace(/\/$/, "");

export function chatExamples(body) {
  const messages = lines(body.messages);
  const options = fields(body, ["model", "messages", "stream", "stream_options"]);
  const sent = { ...body };
  delete sent.stream_options;
  return {
    curl:
      `curl -N ${quote(`${BASE}/v1/chat/completions`)} \\\n` +
      `  -H "Authorization: Bearer $API_KEY" \\\n` +
      `  -H 'Content-Type: application/json' \\\n` +
      `  -d ${quote(JSON.stringify(sent))}`,
    Python:
      `import os\n\nfrom openai import OpenAI\n\n` +
      `client = OpenAI(base_url=${python(`${BASE}/v1`)}, api_key=os.environ["API_KEY"])\n` +
      `stream = client.chat.completions.create(\n` +
      `    model=${python(body.model)},\n    messages=[\n${messages}\n    ],\n${options}` +
      `    stream=True,\n)\n` +
      `for chunk in stream:\n    for choice in chunk.choices:\n` +
      `        print(choice.delta.content or "", end="", flush=True)`,
    "OpenAI's Responses": responsesExample(body),
    "Anthropic's SDK": messagesExample(body),
  };
}

function responsesExample(body) {
  const { max_tokens: most, ...asked } = body;
  if (most !== undefined) asked.max_output_tokens = most;
  return (
    `import os\n\nfrom openai import OpenAI\n\n` +
    `client = OpenAI(base_url=${python(`${BASE}/v1`)}, api_key=os.environ["API_KEY"])\n` +
    `with client.responses.stream(\n` +
    `    model=${python(body.model)},\n    input=[\n${lines(body.messages)}\n    ],\n` +
    fields(asked, ["model", "messages", "stream", "stream_options"]) +
    `) as stream:\n    for event in stream:\n` +
    `        if event.type == "response.output_text.delta":\n` +
    `            print(event.delta, end="", flush=True)`
  );
}

// There, what the system says is no message, the most tokens have to be said, and the SDK knows no
// temperature.
function messagesExample(body) {
  const system = body.messages.filter((message) => message.role === "system");
  const others = body.messages.filter((message) => message.role !== "system");
  const { temperature, ...asked } = { max_tokens: 1000, ...body };
  if (system.length) asked.system = system.map((message) => message.content).join("\n");
  if (temperature !== undefined) asked.extra_body = { temperature };
  return (
    `import os\n\nfrom anthropic import Anthropic\n\n` +
    `client = Anthropic(base_url=${python(BASE)}, api_key=os.environ["API_KEY"])\n` +
    `with client.messages.stream(\n` +
    `    model=${python(body.model)},\n    messages=[\n${lines(others)}\n    ],\n` +
    fields(asked, ["model", "messages", "stream", "stream_options"]) +
    `) as stream:\n    for text in stream.text_stream:\n` +
    `        print(text, end="", flush=True)`
  );
}

function lines(messages) {
  return messages.map((message) => `        ${python(message)},`).join("\n");
}

function fields(body, left) {
  return Object.entries(body)
    .filter(([name]) => !left.includes(name))
    .map(([name, value]) => `    ${name}=${python(value)},\n`)
    .join("");
}

// `body` is text, or a file's name.
export function rawExamples(path, headers, body, file) {
  const all = Object.entries(headers);
  const lines = all.map(([name, value]) => `  -H ${quote(`${name}: ${value}`)} \\\n`).join("");
  const given = all.map(([name, value]) => `${python(name)}: ${python(value)}, `).join("");
  return {
    curl:
      `curl ${quote(`${BASE}/${path}`)} \\\n  -H "Authorization: Bearer $API_KEY" \\\n${lines}` +
      (file ? `  --data-binary ${quote(`@${file}`)}` : `  --data-raw ${quote(body)}`),
    Python:
      `import os\nimport sys\n\nimport requests\n\n` +
      `answer = requests.post(\n    ${python(`${BASE}/${path}`)},\n` +
      `    headers={${given}"Authorization": f"Bearer {os.environ['API_KEY']}"},\n` +
      `    data=${file ? `open(${python(file)}, "rb")` : `${python(body)}.encode()`},\n)\n` +
      `answer.raise_for_status()\nsys.stdout.buffer.write(answer.content)`,
  };
}

// What there is for a model of this dialect besides SageMaker's own path, if this is what it is sent.
export function routeExamples(model, dialect, type, body, file) {
  if (dialect === "huggingface" && type.startsWith("audio/")) {
    return { Transcription: transcriptionExample(model, file ?? "speech.mp3") };
  }
  if (["tei", "openai"].includes(dialect) && type.includes("json")) {
    return { Rerank: rerankExample(model, body) };
  }
  return {};
}

function transcriptionExample(model, file) {
  return (
    `import os\n\nfrom openai import OpenAI\n\n` +
    `client = OpenAI(base_url=${python(`${BASE}/v1`)}, api_key=os.environ["API_KEY"])\n` +
    `with open(${python(file)}, "rb") as audio:\n` +
    `    heard = client.audio.transcriptions.create(model=${python(model)}, file=audio)\n` +
    `print(heard.text)`
  );
}

// Of what is sent to the endpoint itself, if it is a question and texts.
function rerankExample(model, body) {
  let asked = {};
  try {
    asked = JSON.parse(body) ?? {};
  } catch {
    // It is still being written.
  }
  const query = asked.query ?? "What is a panda?";
  const documents = asked.documents ?? asked.texts ?? ["It is a bear.", "It is a chart."];
  return (
    `curl ${quote(`${BASE}/v1/rerank`)} \\\n` +
    `  -H "Authorization: Bearer $API_KEY" \\\n` +
    `  -H 'Content-Type: application/json' \\\n` +
    `  -d ${quote(JSON.stringify({ model, query, documents }))}`
  );
}

export function showExamples(place, examples) {
  place.replaceChildren(
    ...Object.entries(examples).map(([name, text]) => {
      const copy = element("button", { type: "button", class: "quiet" }, "Copy");
      copy.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          copy.textContent = "Copied";
        } catch {
          copy.textContent = "Select it, and copy";
        }
        setTimeout(() => (copy.textContent = "Copy"), 2000);
      });
      const code = element("pre", { tabindex: "0", "aria-label": `${name} example` }, text);
      return element("div", {}, element("div", { class: "title" }, element("h3", {}, name), copy), code);
    }),
    element("p", { class: "faint" }, "API_KEY is your key, in the environment. If the certificate is the proxy's own, curl takes it with --cacert certificate.pem, and Python with SSL_CERT_FILE or REQUESTS_CA_BUNDLE."),
  );
}

// For a POSIX shell.
function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// JSON's strings, numbers and lists are Python's, too.
function python(value) {
  return JSON.stringify(value, null, 1)
    .replace(/\n\s*/g, " ")
    .replace(/^\{ /, "{")
    .replace(/ \}$/, "}");
}
