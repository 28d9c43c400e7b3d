// The OpenAPI document as a page with a form for each operation.

const byId = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function typeOf(schema = {}) {
  const options = schema.anyOf ?? [schema];
  return options.filter((o) => o.type !== "null").map((o) => (o.enum ? o.enum.join(" | ") : [o.type, o.format].filter(Boolean).join(", "))).join(" or ");
}

function table(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text })));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((text) => make("td", { textContent: text }))));
  return make("div", { className: "scroll" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function example(operation, components) {
  const reference = operation.responses["200"]?.content?.["application/json"]?.schema?.$ref;
  return reference ? components.schemas[reference.split("/").at(-1)].example : undefined;
}

function tryForm(path, method, parameters, secured) {
  const fields = [...parameters, ...(secured ? [{ name: "X-API-Key", in: "header", schema: { type: "string" } }] : [])];
  const inputs = fields.map((p) => make("input", { name: p.name, required: Boolean(p.required), autocomplete: "off", type: p.in === "header" ? "password" : "text" }));
  const output = make("pre", { hidden: true, tabIndex: 0 });
  const labels = fields.map((p, i) => make("label", {}, p.name, inputs[i]));
  const form = make("form", {}, ...labels, make("button", { textContent: "Try it" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const query = new URLSearchParams(), headers = {};
    let address = path;
    fields.forEach((p, i) => {
      const value = inputs[i].value.trim();
      if (p.in === "path") address = address.replace(`{${p.name}}`, encodeURIComponent(value));
      else if (value && p.in === "header") headers[p.name] = value;
      else if (value) query.set(p.name, value);
    });
    const target = query.size ? `${address}?${query}` : address;
    output.hidden = false;
    output.textContent = "…";
    const answer = await fetch(target, { method, headers, signal: AbortSignal.timeout(10000) }).catch((error) => error);
    if (answer instanceof Error) { output.textContent = String(answer); return; }
    const text = await answer.text();
    const shown = (answer.headers.get("content-type") ?? "").includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
    output.textContent = `${method.toUpperCase()} ${target}\n${answer.status} ${answer.headers.get("content-type")}\n\n${shown}`;
  });
  return [form, output];
}

function operationCard(path, method, operation, components) {
  const parameters = operation.parameters ?? [];
  const card = make("details", { className: "card operation" });
  const name = make("summary", {}, make("span", { className: "method", textContent: method.toUpperCase() }), make("code", { textContent: path }), make("span", { className: "muted", textContent: operation.summary ?? "" }));
  card.append(name, ...(operation.description ?? "").split("\n\n").map((text) => make("p", { textContent: text })));
  if (parameters.length) {
    const rows = parameters.map((p) => [p.name + (p.required ? " *" : ""), p.in, typeOf(p.schema), p.description ?? p.schema?.description ?? ""]);
    card.append(make("h3", { textContent: "Parameters" }), table(["Name", "In", "Type", "Meaning"], rows));
  }
  const answers = Object.entries(operation.responses).map(([status, r]) => [status, r.description, Object.keys(r.content ?? {}).join(", ")]);
  card.append(make("h3", { textContent: "Answers" }), table(["Status", "Meaning", "Content"], answers));
  const shown = example(operation, components);
  if (shown) card.append(make("h3", { textContent: "Example" }), make("pre", { tabIndex: 0, textContent: JSON.stringify(shown, null, 2) }));
  card.append(make("h3", { textContent: "Try it" }), ...tryForm(path, method, parameters, Boolean(operation.security)));
  return card;
}

const answer = await fetch("/openapi.json", { signal: AbortSignal.timeout(10000) });
const api = await answer.json();
document.title = `${api.info.title} API · dualcast`;
byId("name").textContent = api.info.title;
byId("summary").textContent = `${api.info.summary} · ${api.info.version}`;
byId("loading").remove();
for (const [path, methods] of Object.entries(api.paths).sort()) {
  for (const [method, operation] of Object.entries(methods)) byId("main").append(operationCard(path, method, operation, api.components));
}
document.body.dataset.state = "shown";
