// A custom handler, as it would run on Azure: it reads a secret from the vault at
// VAULT_URL with the app's identity, in the ways that a program can ask for it, and
// has another one in a setting. Nothing in it knows the test.
"use strict";

const http = require("node:http");
const { DefaultAzureCredential, ManagedIdentityCredential } = require("@azure/identity");
const { SecretClient } = require("@azure/keyvault-secrets");

const { FUNCTIONS_CUSTOMHANDLER_PORT, VAULT_URL, USER_CLIENT_ID, USER_RESOURCE_ID, DATABASE_PASSWORD } = process.env;

const credentials = {
  system: new ManagedIdentityCredential(),
  default: new DefaultAzureCredential(),
  user: new ManagedIdentityCredential({ clientId: USER_CLIENT_ID }),
  resource: new ManagedIdentityCredential({ resourceId: USER_RESOURCE_ID }),
  defaultUser: new DefaultAzureCredential({ managedIdentityClientId: USER_CLIENT_ID }),
  stranger: new ManagedIdentityCredential({ clientId: "00000000-0000-4000-8000-000000000000" }),
};
const clients = Object.fromEntries(Object.entries(credentials).map(([name, credential]) => [name, new SecretClient(VAULT_URL, credential)]));

// read gives the value, or why there is none.
async function read(client) {
  try {
    return (await client.getSecret("supplier-key")).value;
  } catch (e) {
    return [e.statusCode ?? e.name, e.code].filter((part) => part !== undefined).join(" ");
  }
}

const server = http.createServer(async (req, res) => {
  const answer = { setting: DATABASE_PASSWORD };
  for (const [name, client] of Object.entries(clients)) answer[name] = await read(client);
  res.writeHead(200, { "content-type": "application/json" });
  res.end(JSON.stringify(answer));
});

server.listen(Number(FUNCTIONS_CUSTOMHANDLER_PORT), "127.0.0.1");
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
