/* Nothing typed is lost when a session ends: it expired, or the person signed out elsewhere.

   Before a form is sent by POST, the page asks who is signed in. The same person: the form goes, with the
   token of the present session. Nobody: a dialog asks to sign in again, then the form goes as it stands,
   secrets and chosen files included. Somebody else: a word, and the page is loaded as that person.
   A form goes once: pressed again while the answer is awaited, it does not go a second time. A form that is
   still there after a while, because its answer was a file or never came, may go again.
   The page asks as well when its window comes back to the front.

   <form data-session-free>  goes without being asked about: it needs no session */

import { announce } from "./app.js";

const page = document.body.dataset;
const PATIENCE = 10000;
const REST = 30000;
const STAYING = 10000;
const AWAY = "The server cannot be reached. Nothing was sent, and what you typed is still here: try again.";

let token = "";
let asked = Date.now();
let dialogue = null;
const passing = new WeakSet();
const asking = new WeakSet();
let sent = new WeakSet();

/* --- Who is signed in ---------------------------------------------------------------------------- */

function get(url, options = {}) {
  const always = { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  return fetch(url, { ...always, ...options });
}

/* The user name of this browser's session; empty for nobody. Rejects when the server does not answer. */
export async function who() {
  asked = Date.now();
  const response = await get(page.sessionUrl);
  if (!response.ok) throw new Error(String(response.status));
  return take(await response.json());
}

function take(answer) {
  token = answer.token;
  for (const field of document.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.value = token;
  return answer.user;
}

/* --- Signing in again ------------------------------------------------------------------------------- */

/* Resolves to true once the page's own person is signed in, to false when the dialog is closed without.
   ``user``: who is signed in now. */
export function signInAgain(user) {
  dialogue ??= new Promise((resolve) => {
    if (user) showOther(user, resolve);
    else showSignIn(resolve);
  }).finally(() => { dialogue = null; });
  return dialogue;
}

function openDialog(kind, resolve) {
  const template = document.querySelector(`[data-session-template=${kind}]`);
  const dialog = template.content.firstElementChild.cloneNode(true);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(dialog.returnValue === "done");
  });
  dialog.querySelector("[data-session-close]").addEventListener("click", () => dialog.close());
  dialog.showModal();
  return dialog;
}

function showOther(user, resolve) {
  const dialog = openDialog("other", resolve);
  dialog.querySelector("[data-session-name]").textContent = user;
  dialog.querySelector("[data-session-reload]").addEventListener("click", () => {
    location.replace(location.pathname + location.search);
  });
}

function showSignIn(resolve) {
  const dialog = openDialog("sign-in", resolve);
  const form = dialog.querySelector("form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    button.disabled = true;
    const user = await enter(form);
    button.disabled = false;
    if (user === page.sessionUser) dialog.close("done");
    else if (user) {
      dialog.close();
      showOther(user, resolve);
    }
  });
}

/* By the console's one door: a refused sign-in answers with its page, an accepted one leads to /session/. */
async function enter(form) {
  try {
    const { username, password } = form.elements;
    const entered = { username: username.value, password: password.value };
    const body = new URLSearchParams({ ...entered, csrfmiddlewaretoken: token, next: page.sessionUrl });
    const response = await get(page.loginUrl, { method: "POST", body });
    if (isJson(response)) return take(await response.json());
    refuse(form, reasonIn(await response.text()));
  } catch {
    refuse(form, "The server cannot be reached. Try again.");
  }
  return "";
}

function reasonIn(html) {
  const answer = new DOMParser().parseFromString(html, "text/html");
  const found = answer.querySelector("[data-error-summary], main .card");
  return found?.textContent.trim().replace(/\s+/g, " ") || "The sign-in was refused.";
}

function refuse(form, reason) {
  const error = form.querySelector("[data-session-error]");
  error.hidden = false;
  error.textContent = reason;
  form.elements.password.value = "";
  form.elements.password.focus();
}

function isJson(response) {
  return (response.headers.get("Content-Type") || "").startsWith("application/json");
}

/* --- Before a form is sent -------------------------------------------------------------------------- */

async function askThenSend(form, button) {
  if (asking.has(form)) return;
  asking.add(form);
  form.setAttribute("aria-busy", "true");
  try {
    const user = await who();
    if (user === page.sessionUser || (await signInAgain(user))) send(form, button);
    else announce("Nothing was sent.");
  } catch {
    complain(form);
  } finally {
    asking.delete(form);
    form.removeAttribute("aria-busy");
  }
}

function send(form, button) {
  form.querySelector("[data-not-sent]")?.remove();
  passing.add(form);
  try {
    form.requestSubmit(button?.form === form ? button : null);
  } finally {
    passing.delete(form);
  }
}

/* Really on its way: its fields are valid, and no other listener held it back. */
function noteSent(event) {
  const form = event.target;
  if (event.defaultPrevented || !passing.has(form)) return;
  sent.add(form);
  setTimeout(() => sent.delete(form), STAYING);
}

function complain(form) {
  const place = form.querySelector("[data-not-sent]") || document.createElement("p");
  place.className = "message message-warning";
  place.dataset.notSent = "";
  place.setAttribute("role", "alert");
  form.append(place);
  place.textContent = AWAY;
}

function needsSession(form, button) {
  const method = button?.getAttribute("formmethod") || form.getAttribute("method") || "get";
  return method.toLowerCase() === "post" && !form.matches("[data-session-form], [data-session-free]");
}

/* --- When the window comes back --------------------------------------------------------------------- */

async function look() {
  if (document.hidden || Date.now() - asked < REST) return;
  try {
    const user = await who();
    if (user !== page.sessionUser) await signInAgain(user);
  } catch {
    // Away for a moment: the next look, or the sending of a form, tells.
  }
}

if (page.sessionUser) {
  // First of all listeners: the others see a form only when it really goes.
  document.addEventListener("submit", (event) => {
    const [form, button] = [event.target, event.submitter];
    if (passing.has(form) || !needsSession(form, button)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (sent.has(form)) announce("It is on its way already.");
    else askThenSend(form, button);
  }, { capture: true });
  // Last of all listeners: the others may have held the form back.
  window.addEventListener("submit", noteSent);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) sent = new WeakSet();
  });
  document.addEventListener("visibilitychange", look);
  window.addEventListener("focus", look);
}
