// Only comfort: everything works without it.
(function () {
  "use strict";
  var zone = document.querySelector("select[data-guess-zone]");
  if (zone && !zone.dataset.chosen) {
    try {
      var guess = Intl.DateTimeFormat().resolvedOptions().timeZone;
      if (guess) {
        zone.value = guess;
        // An older name of a zone is as good; the list has the newer ones only.
        if (zone.value !== guess) zone.add(new Option(guess, guess, true, true));
      }
    } catch (e) { /* the list stays as it is */ }
  }
  var hidden = document.querySelector("input[data-guess-zone]");
  if (hidden) { try { hidden.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"; } catch (e) { hidden.value = "UTC"; } }
  var form = document.querySelector("form[data-preview]");
  var here = form && form.querySelector("[data-preview-here]");
  if (here && window.fetch) {
    var waiting = 0, asked = 0;
    var show = function () {
      // Only what is looked for leaves the form; never the address.
      var wanted = new URLSearchParams(), turn = ++asked;
      new FormData(form).forEach(function (value, name) {
        if (name === "query") name = "queries";
        if (name === "topic" || name === "queries" || name === "muted") wanted.append(name, value);
      });
      fetch("/preview", { method: "POST", body: wanted }).then(function (answer) {
        return answer.ok ? answer.text() : Promise.reject();
      }).then(function (text) {
        if (turn !== asked) return;
        here.innerHTML = text;
        form.querySelector("[data-preview-said]").textContent = here.querySelector("h2").textContent;
      }).catch(function () { /* the button is there */ });
    };
    ["input", "change"].forEach(function (kind) {
      form.addEventListener(kind, function (event) {
        if (["topic", "queries", "muted", "query"].indexOf(event.target.name) < 0) return;
        clearTimeout(waiting);
        waiting = setTimeout(show, 250);
      });
    });
  }
  var filter = document.querySelector("[data-filter]");
  if (filter) {
    filter.closest("[hidden]").hidden = false;
    filter.addEventListener("input", function () {
      var wanted = filter.value.trim().toLowerCase();
      document.querySelectorAll("[data-topics] details").forEach(function (group) {
        var any = false;
        group.querySelectorAll("label").forEach(function (check) {
          var fits = !wanted || check.textContent.toLowerCase().indexOf(wanted) >= 0;
          check.hidden = !fits;
          any = any || fits;
        });
        group.hidden = !any;
        if (wanted) group.open = any;
      });
    });
  }
})();
