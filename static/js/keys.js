/* The forms about keys.

   [data-notes-for="id"] holds one [data-note="value"] per choice of that select; only the chosen one's shows.
   [data-sending] in a form appears while the form is on its way, which takes a while for a large file. */

function showNote(notes) {
  const select = document.getElementById(notes.dataset.notesFor);
  for (const note of notes.querySelectorAll("[data-note]")) {
    note.hidden = note.dataset.note !== select.value;
  }
}

const all = [...document.querySelectorAll("[data-notes-for]")];
function showNotes() {
  all.forEach(showNote);
}

function showSending(form, sending) {
  for (const part of form.querySelectorAll("[data-sending]")) part.hidden = !sending;
  for (const button of form.querySelectorAll("button[name=send], input[name=send]")) button.disabled = sending;
}

document.addEventListener("change", showNotes);
document.addEventListener("submit", (event) => {
  const form = event.target;
  // After the browser has collected the fields, or the button's own would be missing.
  if (form.querySelector("[data-sending]")) setTimeout(() => showSending(form, true));
});
// Browsers put remembered values back after a reload or "back" without an event.
window.addEventListener("pageshow", () => {
  showNotes();
  document.querySelectorAll("form").forEach((form) => showSending(form, false));
});
showNotes();

/* The names of several keys, shown while their part in common and their numbers are typed.
   [data-names-preview] is filled from #id_name, #id_count, #id_first and #id_digits; the server checks. */
const preview = document.querySelector("[data-names-preview]");
const numberFields = ["count", "first", "digits"].map((name) => document.getElementById(`id_${name}`));

function countedNames(base, count, first, digits) {
  const at = (index) => base + String(first + index).padStart(digits, "0");
  return count > 3 ? `${at(0)}, ${at(1)} … ${at(count - 1)}` : [...Array(count).keys()].map(at).join(", ");
}

function expected(seconds) {
  return seconds < 100 ? `about ${seconds} seconds` : `about ${Math.round(seconds / 60)} minutes`;
}

function previewText(base, [count, first, digits]) {
  if (!base) return "Type the part of the name that comes before the number.";
  const last = String(first + count - 1);
  if (last.length > digits) return `The last number is ${last}: use ${last.length} digits.`;
  const names = countedNames(base, count, first, digits);
  return `${count} keys: ${names}. The HSM creates about one key a second: ${expected(count)}.`;
}

function showNames() {
  const numbers = numberFields.map((field) => Number.parseInt(field.value, 10));
  const [count] = numbers;
  const several = count > 1 && count <= Number(numberFields[0].max);
  for (const field of numberFields.slice(1)) field.closest(".field").hidden = !(count > 1);
  const send = preview.closest("form").elements.send;
  send.textContent = several ? `Generate ${count} keys` : "Generate key";
  preview.hidden = !several || numbers.some((number) => Number.isNaN(number) || number < 0);
  if (preview.hidden) return;
  const text = previewText(document.getElementById("id_name").value.trim(), numbers);
  if (preview.textContent !== text) preview.textContent = text;
}

if (preview) {
  document.addEventListener("input", showNames);
  window.addEventListener("pageshow", showNames);
  showNames();
}
