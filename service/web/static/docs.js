"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The validator badge would ask a server elsewhere.
  validatorUrl: null,
});
