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
