"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  // The validator badge would ask a server elsewhere.
  validatorUrl: null,
});
