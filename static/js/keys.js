/* The page that generates a key.

   [data-notes-for="id"] holds one [data-note="value"] per choice of that select; only the chosen one's shows. */

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

document.addEventListener("change", showNotes);
// Browsers put remembered values back after a reload or "back" without an event.
window.addEventListener("pageshow", showNotes);
showNotes();
