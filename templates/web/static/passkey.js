// Asks the browser for a passkey, and posts what it signed as a form: the answer is a page. Without it there are codes.
(function () {
  "use strict";
  var able = window.PublicKeyCredential && navigator.credentials && window.fetch;
  document.querySelectorAll("[data-passkey]").forEach(function (form) {
    if (!able) return;
    form.parentNode.querySelector("[data-passkey-lacking]").hidden = true;
    form.hidden = false;
    form.addEventListener("submit", function (event) {
      event.preventDefault();
      give(form);
    });
  });

  function give(form) {
    var said = form.querySelector("[data-passkey-said]"), button = form.querySelector("button");
    said.hidden = true;
    button.disabled = true;
    var creates = form.dataset.passkey === "create", body = new URLSearchParams();
    if (form.elements.csrf) body.append("csrf", form.elements.csrf.value);
    fetch(form.getAttribute("action") + "/ask", { method: "POST", body: body, redirect: "manual" }).then(function (answer) {
      if (answer.type === "opaqueredirect") throw new Told("This page is out of date: open it anew.");
      return answer.ok ? answer.json() : answer.text().then(function (text) {
        // A page is not for this line.
        throw new Told(/^</.test(text.trim()) ? "This page is out of date: open it anew." : text);
      });
    }).then(function (options) {
      var wanted = { publicKey: read(options) };
      return creates ? navigator.credentials.create(wanted) : navigator.credentials.get(wanted);
    }).then(function (credential) {
      form.elements.credential.value = JSON.stringify(written(credential));
      form.submit();
    }).catch(function (error) {
      said.textContent = error instanceof Told ? error.line : LINES[error.name] || "That did not work: try again.";
      said.hidden = false;
      button.disabled = false;
    });
  }

  function Told(line) { this.line = line; }

  var LINES = {
    NotAllowedError: "No passkey was given: it was cancelled, or took too long. Try again.",
    InvalidStateError: "This device has a passkey of yours already.",
    SecurityError: "This page’s address is not the site’s own, so it can have no passkeys."
  };

  // What WebAuthn takes and gives as bytes travels as base64url.
  function read(options) {
    options.challenge = bytes(options.challenge);
    if (options.user) options.user.id = bytes(options.user.id);
    ["excludeCredentials", "allowCredentials"].forEach(function (list) {
      (options[list] || []).forEach(function (each) { each.id = bytes(each.id); });
    });
    return options;
  }

  function written(credential) {
    var from = credential.response, response = {};
    ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"].forEach(function (part) {
      if (from[part]) response[part] = text(from[part]);
    });
    if (from.getTransports) response.transports = from.getTransports();
    return { id: credential.id, rawId: text(credential.rawId), type: credential.type, response: response };
  }

  function bytes(text) {
    var plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, function (character) { return character.charCodeAt(0); });
  }

  function text(buffer) {
    var plain = "";
    new Uint8Array(buffer).forEach(function (each) { plain += String.fromCharCode(each); });
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  }
})();
