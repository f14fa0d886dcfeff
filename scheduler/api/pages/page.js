"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null, // a service of another host
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
});
