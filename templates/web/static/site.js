// Only comfort: everything works without it.
(function () {
  "use strict";
  var zone = document.querySelector("select[data-guess-zone]");
  if (zone && !zone.dataset.chosen) {
    try {
      var guess = Intl.DateTimeFormat().resolvedOptions().timeZone;
      for (var i = 0; i < zone.options.length; i++) if (zone.options[i].value === guess) zone.value = guess;
    } catch (e) { /* the list stays as it is */ }
  }
  var hidden = document.querySelector("input[data-guess-zone]");
  if (hidden) { try { hidden.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"; } catch (e) { hidden.value = "UTC"; } }
  var filter = document.querySelector("[data-filter]");
  if (filter) {
    filter.closest("[hidden]").hidden = false;
    filter.addEventListener("input", function () {
      var wanted = filter.value.trim().toLowerCase();
      document.querySelectorAll("[data-topics] details").forEach(function (group) {
        var any = false;
        group.querySelectorAll(".check").forEach(function (check) {
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
