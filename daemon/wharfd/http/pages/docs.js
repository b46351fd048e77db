"use strict";
const byId = (id) => document.getElementById(id);
const METHODS = ["get", "post", "put", "patch", "delete"];
let csrf = null;

function make(tag, properties, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, properties || {});
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// A schema in the words of the people who write JSON: {"url": string, "events": [string]}.
function shape(schema, components, depth) {
  if (!schema || Object.keys(schema).length === 0) return "anything";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 4 || !components[name] ? name : shape(components[name], components, depth + 1);
  }
  if (schema.anyOf || schema.oneOf) {
    return (schema.anyOf || schema.oneOf).map((part) => shape(part, components, depth + 1)).join(" | ");
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return "[" + shape(schema.items, components, depth + 1) + ", …]";
  if (schema.properties) {
    const required = schema.required || [];
    const pad = "  ".repeat(depth + 1);
    const lines = Object.entries(schema.properties).map(([name, part]) =>
      pad + JSON.stringify(name) + (required.includes(name) ? "" : "?") + ": " + shape(part, components, depth + 1));
    return lines.length ? "{\n" + lines.join(",\n") + "\n" + "  ".repeat(depth) + "}" : "{}";
  }
  return schema.format ? schema.type + " (" + schema.format + ")" : schema.type || "anything";
}

function rows(pairs) {
  return make("table", null, make("tbody", null, ...pairs.map(([left, right, more]) => make("tr", null,
    make("td", null, make("code", { textContent: left })), make("td", { textContent: right }),
    make("td", { className: "soft", textContent: more || "" })))));
}

function content(holder, components) {
  return Object.entries(holder || {}).flatMap(([kind, media]) => [
    make("p", { className: "soft", textContent: kind }),
    make("pre", { textContent: shape(media.schema, components, 0) })]);
}

function entry(method, path, operation, components) {
  const inside = make("div");
  if (operation.description) inside.append(make("p", { className: "soft", textContent: operation.description.replaceAll("`", "") }));
  if (operation["x-alias-of"]) inside.append(make("p", { className: "soft", textContent: "The same as " + operation["x-alias-of"] }));
  if (operation.parameters && operation.parameters.length) {
    inside.append(make("h3", { textContent: "Parameters" }), rows(operation.parameters.map((one) =>
      [one.name, one.in + (one.required ? "" : ", optional"), shape(one.schema, components, 0)])));
  }
  if (operation.requestBody) inside.append(make("h3", { textContent: "Body" }), ...content(operation.requestBody.content, components));
  inside.append(make("h3", { textContent: "Answers" }), rows(Object.entries(operation.responses).map(([status, one]) =>
    [status, one.description])));
  const good = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
  if (good) inside.append(...content(good[1].content, components));
  const words = [method, path, operation.summary, operation["x-scope"], ...(operation.tags || [])].join(" ").toLowerCase();
  const node = make("details", { className: operation.deprecated ? "gone" : "" }, make("summary", null,
    make("span", { className: "method " + method, textContent: method.toUpperCase() }),
    make("code", { textContent: path }), make("span", { className: "soft", textContent: operation.summary || "" })), inside);
  node.dataset.words = words;
  return node;
}

function draw(api) {
  const components = (api.components || {}).schemas || {};
  byId("version").textContent = api.info.version;
  const list = byId("list");
  list.replaceChildren();
  for (const tag of api.tags) {
    const section = make("section", null, make("h2", { textContent: tag.name }));
    for (const [path, operations] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        const operation = operations[method];
        if (operation && (operation.tags || []).includes(tag.name)) section.append(entry(method, path, operation, components));
      }
    }
    if (section.children.length > 1) list.append(section);
  }
  filter();
}

function filter() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const node of document.querySelectorAll("details")) {
    node.hidden = !words.every((word) => node.dataset.words.includes(word));
  }
  for (const section of document.querySelectorAll("section")) {
    section.hidden = !section.querySelector("details:not([hidden])");
  }
}

async function load() {
  const session = await fetch("/api/v1/session");
  if (session.ok) csrf = (await session.json()).csrf_token;
  byId("leave").hidden = csrf === null;
  const answer = await fetch("/openapi.json");
  byId("enter").hidden = answer.ok;
  if (answer.ok) draw(await answer.json());
  else byId("list").replaceChildren();
}

byId("search").addEventListener("input", filter);
byId("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/api/v1/session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: byId("token").value.trim() }) });
  byId("token").value = "";
  byId("refused").textContent = answer.ok ? "" : (await answer.json()).detail;
  if (answer.ok) await load();
});
byId("leave").addEventListener("click", async () => {
  await fetch("/api/v1/session", { method: "DELETE", headers: { "X-CSRF-Token": csrf || "" } });
  csrf = null;
  await load();
});
load().catch(() => byId("list").replaceChildren(make("p", { textContent: "The server does not answer." })));
