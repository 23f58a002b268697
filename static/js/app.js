/* Small behaviours that any page may use. All are delegated, so parts that live.js replaces keep them.

   [data-theme-choice]    auto | light | dark, remembered in this browser
   [data-nav-button]      opens the navigation in a narrow window
   details[data-menu]     closes with Escape, and when the focus or the pointer goes elsewhere
   time[data-relative]    shows "3 minutes ago"; the full time becomes its tooltip
   [data-copy="id"]       copies the text (or value) of that element
   [data-confirm-text]    a button that works once its data-confirm-field holds exactly that text
   [data-select-all]      a checkbox that ticks all boxes of that name in its form
   [data-submit]          a control that sends its form when changed */

const THEME_KEY = "keymanager-theme";

export function announce(text) {
  const place = document.querySelector("[data-announcer]");
  if (place) place.textContent = text;
}

function showTheme() {
  const current = document.documentElement.dataset.theme || "auto";
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.setAttribute("aria-pressed", String(button.dataset.themeChoice === current));
  }
}

function chooseTheme(choice) {
  const root = document.documentElement;
  if (choice === "auto") delete root.dataset.theme;
  else root.dataset.theme = choice;
  try {
    if (choice === "auto") localStorage.removeItem(THEME_KEY);
    else localStorage.setItem(THEME_KEY, choice);
  } catch {
    announce("This browser does not let the page remember the colours.");
  }
  showTheme();
}

const UNITS = [
  ["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400],
  ["hour", 3600], ["minute", 60], ["second", 1],
];
const relative = new Intl.RelativeTimeFormat("en-GB", { numeric: "auto" });
const absolute = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export function relativeTime(then, now) {
  const seconds = Math.round((then - now) / 1000);
  const [unit, size] = UNITS.find(([, length]) => Math.abs(seconds) >= length) || ["second", 1];
  return relative.format(Math.trunc(seconds / size), unit);
}

export function showTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-relative]")) {
    const then = Date.parse(element.dateTime);
    if (Number.isNaN(then)) continue;
    const text = relativeTime(then, now);
    if (element.textContent !== text) element.textContent = text;
    element.title = absolute.format(then);
  }
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  if (!source) return;
  const text = "value" in source ? source.value : source.textContent;
  try {
    await navigator.clipboard.writeText(text);
    report(button, "Copied");
  } catch {
    // Without https the browser has no clipboard for pages: select the text for the person to copy.
    getSelection().selectAllChildren(source);
    report(button, "Selected: press Ctrl+C");
  }
}

function report(button, text) {
  const label = button.querySelector("span") || button;
  if (!button.dataset.label) button.dataset.label = label.textContent;
  label.textContent = text;
  announce(text);
  setTimeout(() => { label.textContent = button.dataset.label; }, 2000);
}

export function guardConfirmations() {
  for (const button of document.querySelectorAll("[data-confirm-text]")) {
    const field = document.getElementById(button.dataset.confirmField);
    button.disabled = !field || field.value.trim() !== button.dataset.confirmText;
  }
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (menu !== except) menu.open = false;
  }
}

function toggleNavigation(button) {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
}

document.addEventListener("click", (event) => {
  const target = event.target instanceof Element ? event.target : null;
  closeMenus(target?.closest("details[data-menu]"));
  const button = target?.closest("button");
  if (!button) return;
  if (button.dataset.themeChoice) chooseTheme(button.dataset.themeChoice);
  if ("navButton" in button.dataset) toggleNavigation(button);
  if (button.dataset.copy) copy(button);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details[data-menu][open]");
  closeMenus();
  menu?.querySelector("summary").focus();
});

document.addEventListener("focusout", (event) => {
  const menu = event.target.closest?.("details[data-menu][open]");
  if (menu && event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
});

document.addEventListener("change", (event) => {
  const control = event.target;
  if (control.dataset.selectAll) {
    for (const box of control.form.querySelectorAll(`input[name="${control.dataset.selectAll}"]`)) {
      box.checked = control.checked;
    }
  }
  if ("submit" in control.dataset) control.form.requestSubmit();
});

document.addEventListener("input", guardConfirmations);

showTheme();
showTimes();
guardConfirmations();
setInterval(showTimes, 15000);
