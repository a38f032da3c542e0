"use strict";

// A key that is typed in under "Authorize" stays in this tab, and is gone with it.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null, // nothing is sent to anybody else
});
