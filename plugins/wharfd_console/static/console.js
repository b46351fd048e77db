"use strict";
// The console's only script: theme, signing in and out, actions with CSRF token, live panels, keys.

const root = document.documentElement;
const themes = ["auto", "light", "dark"];
const setTheme = (name) => (name === "auto" ? root.removeAttribute("data-theme") : root.setAttribute("data-theme", name));
setTheme(localStorage.getItem("theme") || "auto"); // before anything is painted

const byId = (id) => document.getElementById(id);

function toast(text, bad) {
  const box = document.createElement("p");
  box.className = bad ? "toast bad" : "toast";
  box.textContent = text;
  byId("toasts").append(box);
  setTimeout(() => box.remove(), bad ? 12000 : 5000);
}

function changeTheme() {
  const next = themes[(themes.indexOf(localStorage.getItem("theme") || "auto") + 1) % themes.length];
  localStorage.setItem("theme", next);
  setTheme(next);
  toast(next === "auto" ? "Theme: as the system says" : `Theme: ${next}`);
}

async function problemOf(answer) {
  try {
    const told = await answer.json();
    return told.detail || told.message || answer.statusText;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

// -- signing in and out --

const wayBack = () => {
  const next = new URLSearchParams(location.search).get("next") || "/console";
  return /^\/console(?![^/?#])/.test(next) ? next : "/console";
};

async function signIn(event) {
  event.preventDefault();
  const said = byId("refused");
  said.textContent = "";
  const body = JSON.stringify({ token: byId("token").value.trim() });
  try {
    const answer = await fetch("/api/v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (answer.ok) return location.assign(wayBack());
    said.textContent = await problemOf(answer);
  } catch {
    said.textContent = "the daemon does not answer";
  }
  byId("token").select();
}

let session;
async function csrf() {
  session = session || fetch("/api/v1/session").then((answer) => (answer.ok ? answer.json() : {}));
  return (await session).csrf_token || "";
}

async function signOut() {
  await fetch("/api/v1/session", { method: "DELETE", headers: { "X-CSRF-Token": await csrf() } });
  location.assign("/console/login");
}

// -- actions --

function asked(text) {
  const dialog = byId("question");
  byId("asked").textContent = text;
  dialog.returnValue = "no";
  dialog.showModal();
  byId("answer").focus();
  return new Promise((settle) => dialog.addEventListener("close", () => settle(dialog.returnValue === "yes"), { once: true }));
}

// What a person filled in, as JSON: an empty field is left out, a number is one, words are a list.
function filled(form) {
  const body = JSON.parse(form.dataset.body || "{}");
  for (const { name, value, type, dataset } of form.elements) {
    if (!name || value.trim() === "") continue;
    body[name] = type === "number" ? Number(value) : dataset.kind === "words" ? value.trim().split(/[\s,]+/) : value;
  }
  return JSON.stringify(body);
}

function copier(name, text) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy ${name}`);
  button.addEventListener("click", async () => {
    const done = await copy(text, button);
    button.textContent = done ? "Copied" : "Copy it by hand";
    button.setAttribute("aria-label", done ? `Copied ${name}` : `Copy ${name} by hand`);
  });
  return button;
}

// Without HTTPS a browser other than on this machine keeps its clipboard to itself; the older way still works.
async function copy(text, button) {
  if (await navigator.clipboard?.writeText(text).then(() => true, () => false)) return true;
  const field = Object.assign(document.createElement("textarea"), { value: text });
  button.after(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

// What the API tells this once stays in sight until it was taken down.
function showOnce(answer, names) {
  const box = byId("once");
  const list = byId("secrets");
  for (const name of names.filter((name) => answer[name])) {
    const value = Object.assign(document.createElement("code"), { textContent: answer[name] });
    list.append(Object.assign(document.createElement("dt"), { textContent: name }), document.createElement("dd"));
    list.lastChild.append(value, copier(name, answer[name]));
  }
  box.addEventListener("cancel", (event) => event.preventDefault(), { once: true });
  box.showModal();
  return new Promise((settle) => box.addEventListener("close", () => { list.replaceChildren(); settle(); }, { once: true }));
}

async function act(asking, button, body) {
  const { method, path, confirm, then, shows } = asking.dataset;
  if (confirm && !(await asked(confirm))) return;
  button.disabled = true;
  try {
    const headers = { "X-CSRF-Token": await csrf() };
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method, headers, body });
    if (answer.status === 401) return location.assign(`/console/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    if (!answer.ok) throw new Error(await problemOf(answer));
    if (shows) await showOnce(await answer.json(), shows.split(" "));
    sessionStorage.setItem("told", `${button.textContent}: done`);
    if (then) location.assign(then);
    else location.reload();
  } catch (error) {
    toast(error.message, true);
    button.disabled = false;
  }
}

// -- times, charts --

function agoOf(seconds) {
  const size = Math.abs(seconds);
  const steps = [[60, 1, "s"], [3600, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"]];
  const [, unit, name] = steps.find(([limit]) => size < limit);
  const words = `${Math.floor(size / unit)} ${name}`;
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}

function tellAges(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const ago = time.querySelector(".ago") || time.appendChild(Object.assign(document.createElement("span"), { className: "ago" }));
    ago.textContent = agoOf((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

function clearReadout() {
  document.querySelectorAll(".hair, .readout").forEach((node) => node.remove());
}

function readChart(event) {
  clearReadout();
  const canvas = event.target.closest && event.target.closest(".canvas");
  if (!canvas) return;
  const series = JSON.parse(canvas.dataset.values);
  const box = canvas.getBoundingClientRect();
  const count = series.length ? series[0][1].length : 0;
  if (count < 2) return;
  const at = Math.min(count - 1, Math.max(0, Math.round(((event.clientX - box.left) / box.width) * (count - 1))));
  const x = (at / (count - 1)) * box.width;
  const hair = Object.assign(document.createElement("span"), { className: "hair" });
  const words = series.map(([name, values]) => `${name} ${values[at] ?? "–"}`).join("   ");
  const readout = Object.assign(document.createElement("span"), { className: "readout", textContent: words });
  hair.style.left = `${x}px`;
  canvas.append(hair, readout);
  readout.style.left = `${Math.min(Math.max(0, x - readout.offsetWidth / 2), box.width - readout.offsetWidth)}px`;
}

// -- live panels --

function follow(path) {
  const lamp = byId("live");
  const source = new EventSource(path);
  const show = (state, words) => { lamp.dataset.state = state; lamp.textContent = words; };
  source.addEventListener("panels", (event) => {
    show("on", "live");
    for (const [id, html] of Object.entries(JSON.parse(event.data))) {
      const panel = byId(id);
      if (!panel || panel.contains(document.activeElement) || panel.querySelector(".readout, details[open]")) continue;
      panel.innerHTML = html; // made and escaped by our own server
      tellAges(panel);
    }
  });
  source.addEventListener("error", async () => {
    show("off", "no connection");
    const answer = await fetch("/api/v1/session").catch(() => null);
    if (answer && answer.status === 401) location.assign("/console/login");
  });
}

// -- keys --

const places = { o: "/console", w: "/console/work", s: "/console/schedules", p: "/console/plugins", d: "/console/database", a: "/console/audit" };
let going = false;

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog[open]")) return;
  if (going && places[event.key]) location.assign(places[event.key]);
  going = event.key === "g";
  if (event.key === "?") byId("keys").showModal();
  if (event.key === "t") changeTheme();
  if (event.key === "/") {
    const field = document.querySelector(".search input");
    if (field) { event.preventDefault(); field.focus(); }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  tellAges(document);
  const login = byId("login");
  if (login) return login.addEventListener("submit", signIn);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest" });
  byId("theme").addEventListener("click", changeTheme);
  byId("leave").addEventListener("click", signOut);
  byId("menu").addEventListener("click", () => {
    const open = byId("menu").closest(".side").toggleAttribute("data-open");
    byId("menu").setAttribute("aria-expanded", String(open));
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-path]");
    if (button) act(button, button, button.dataset.body);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-path]")) return;
    event.preventDefault();
    act(event.target, event.target.querySelector("[type=submit]"), filled(event.target));
  });
  document.addEventListener("pointermove", readChart);
  document.addEventListener("keydown", press);
  setInterval(() => tellAges(document), 10000);
  const main = byId("main");
  if (main.dataset.live) follow(main.dataset.live);
  const told = sessionStorage.getItem("told");
  sessionStorage.removeItem("told");
  if (told) toast(told);
});
