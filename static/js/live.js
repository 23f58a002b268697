/* Parts of a page that follow work under way.

   <div data-live="/url/">…</div>

   The URL answers {"finished": bool, "html": "<fragment>"}; the fragment becomes the element's content.
   It is asked once a second, not while the page is hidden, and no more after "finished". With
   data-live-reload the whole page is loaded again at the end, for what changed outside the element; the
   server leaves data-live out of a page whose work is finished already.

   Only the nodes that differ are touched: the focus, open <details> and a screen reader's place survive,
   and an aria-live region speaks only what is new. */

import { guardConfirmations, showTimes } from "./app.js";
import { signInAgain, who } from "./session.js";

const PACE = 1000;
const SLOWEST = 15000;
const PATIENCE = 10000;

export function morph(current, wanted) {
  const [old, fresh] = [[...current.childNodes], [...wanted.childNodes]];
  fresh.forEach((node, index) => morphNode(current, old[index], node));
  old.slice(fresh.length).forEach((node) => node.remove());
}

function morphNode(parent, old, fresh) {
  if (!old) parent.append(fresh);
  else if (old.isEqualNode(fresh)) return;
  else if (old.nodeName !== fresh.nodeName || old.nodeType !== Node.ELEMENT_NODE) old.replaceWith(fresh);
  else if ("relative" in old.dataset && old.dateTime === fresh.dateTime) return;
  else morphElement(old, fresh);
}

function morphElement(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morph(old, fresh);
}

class LivePart {
  constructor(element) {
    this.element = element;
    this.delay = PACE;
    this.timer = 0;
    this.busy = false;
    this.done = false;
    if (!element.hasAttribute("aria-live")) element.setAttribute("aria-live", "polite");
    this.notice = document.createElement("p");
    this.notice.className = "live-notice";
    this.notice.setAttribute("role", "status");
    element.before(this.notice);
    document.addEventListener("visibilitychange", () => this.schedule(0));
    this.schedule(this.delay);
  }

  schedule(delay) {
    clearTimeout(this.timer);
    if (this.done || this.busy || document.hidden) return;
    this.timer = setTimeout(() => this.poll(), delay);
  }

  async poll() {
    this.busy = true;
    try {
      await this.ask();
      this.delay = PACE;
    } catch {
      this.delay = Math.min(this.delay * 2, SLOWEST);
      this.notice.textContent = "The server cannot be reached. This page keeps trying.";
    }
    this.busy = false;
    this.schedule(this.delay);
  }

  async ask() {
    const response = await fetch(this.element.dataset.live, {
      headers: { Accept: "application/json" },
      credentials: "same-origin",
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (response.status >= 500) throw new Error(String(response.status));
    if (!response.ok || response.redirected || !isJson(response)) {
      await this.lose();
      return;
    }
    this.show(await response.json());
  }

  show(answer) {
    this.notice.textContent = "";
    const fragment = document.createElement("template");
    fragment.innerHTML = answer.html;
    morph(this.element, fragment.content);
    showTimes();
    guardConfirmations();
    if (answer.finished) this.finish();
  }

  /* No answer for us: either the session has ended, or this part is closed to its reader. */
  async lose() {
    if (await who()) this.stop("This part no longer follows the work. Load the page again.");
    else this.offerSignIn();
  }

  offerSignIn() {
    this.stop("Your sign-in has ended, so this part no longer follows the work. ");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-small";
    button.textContent = "Sign in again";
    button.addEventListener("click", async () => {
      if (await signInAgain("")) this.resume();
    });
    this.notice.append(button);
  }

  resume() {
    this.notice.textContent = "";
    this.done = false;
    this.schedule(0);
  }

  finish() {
    this.stop("");
    this.element.dataset.liveFinished = "";
    if ("liveReload" in this.element.dataset) location.reload();
  }

  stop(reason) {
    this.done = true;
    this.notice.textContent = reason;
  }
}

function isJson(response) {
  return (response.headers.get("Content-Type") || "").startsWith("application/json");
}

for (const element of document.querySelectorAll("[data-live]")) new LivePart(element);
