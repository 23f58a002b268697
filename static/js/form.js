/* Fields that depend on others, and passwords that can be shown while they are typed.

   <input data-requires="id_a id_b">      disabled until both checkboxes are ticked and not disabled themselves
   <input data-requires="id_kind=azure">  disabled until the control (a select, or radios by name) has that value
   [data-reveal="id"]                     a button that shows or hides what is in a password field

   A disabled checkbox is shown unticked and gets its tick back with its condition. The server checks the
   same rules: a posted value without its checkbox is an error there. */

function met(condition) {
  const [id, value] = condition.split("=");
  const control = document.getElementById(id);
  if (!control || control.disabled) return false;
  if (value === undefined) return control.checked;
  if (control.matches("input, select, textarea")) return control.value === value;
  const chosen = control.querySelector("input:checked");
  return chosen !== null && !chosen.disabled && chosen.value === value;
}

function setEnabled(control, enabled) {
  if (control.disabled === !enabled) return;
  control.disabled = !enabled;
  if (control.type === "checkbox") {
    if (!enabled) control.dataset.remembered = String(control.checked);
    control.checked = enabled && control.dataset.remembered === "true";
  }
  showEnabled(control);
}

function showEnabled(control) {
  control.closest(".field")?.classList.toggle("field-disabled", control.disabled);
  const reveal = document.querySelector(`[data-reveal="${control.id}"]`);
  if (reveal) reveal.disabled = control.disabled;
}

export function applyRequirements() {
  // In document order: a field comes after the ones it depends on.
  for (const control of document.querySelectorAll("[data-requires]")) {
    setEnabled(control, control.dataset.requires.trim().split(/\s+/).every(met));
  }
}

function toggleReveal(button) {
  const input = document.getElementById(button.dataset.reveal);
  if (!input) return;
  const shown = input.type === "text";
  input.type = shown ? "password" : "text";
  button.setAttribute("aria-pressed", String(!shown));
  button.textContent = shown ? "Show" : "Hide";
}

for (const button of document.querySelectorAll("[data-reveal]")) button.hidden = false;
document.querySelectorAll("[data-requires]").forEach(showEnabled);

document.addEventListener("change", applyRequirements);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-reveal]");
  if (button) toggleReveal(button);
});
// Browsers put remembered values back after a reload or "back" without an event.
window.addEventListener("pageshow", applyRequirements);
applyRequirements();

// A form with errors opens at its list of errors.
document.querySelector("[data-error-summary]")?.focus();
