/* Runs before the first paint: marks that scripts work and applies the remembered colours. */
(function () {
  "use strict";
  var root = document.documentElement;
  root.classList.add("has-js");
  try {
    var choice = window.localStorage.getItem("keymanager-theme");
    if (choice === "light" || choice === "dark") root.dataset.theme = choice;
  } catch (error) {
    /* Storage is closed to this page: the system's colours apply. */
  }
})();
