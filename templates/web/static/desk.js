// Only comfort: the picture of today refreshes itself, until it is told not to. Without it there is the link.
(function () {
  "use strict";
  var button = document.querySelector("[data-live]"), here = document.querySelector("[data-live-here]");
  if (!button || !here || !window.fetch) return;
  var runs = true, wait = Number(button.dataset.every) * 1000;
  var turn = function () {
    if (!runs) return;
    // A tab that nobody sees asks nothing.
    if (document.hidden) { setTimeout(turn, wait); return; }
    fetch(button.dataset.live, { redirect: "error" }).then(function (answer) {
      return answer.ok ? answer.text() : Promise.reject();
    }).then(function (text) {
      if (runs) here.innerHTML = text;
      setTimeout(turn, wait);
    }).catch(function () { runs = false; button.textContent = "Refresh again"; });
  };
  button.hidden = false;
  button.addEventListener("click", function () {
    runs = !runs;
    button.textContent = runs ? "Stop refreshing" : "Refresh again";
    if (runs) turn();
  });
  setTimeout(turn, wait);
})();
