// Makes a vault and an identity with the JavaScript management libraries, drives
// the vault's secrets from the first value to the purge, and tells on standard
// output what it saw, as JSON. The clients check that a vault's challenge names a
// resource that the vault is below of, as they do by default.
const fs = require("node:fs");
const { ClientSecretCredential } = require("@azure/identity");
const { KeyVaultManagementClient } = require("@azure/arm-keyvault");
const { ManagedServiceIdentityClient } = require("@azure/arm-msi");
const { SecretClient } = require("@azure/keyvault-secrets");

const { MANAGEMENT, TENANT, CLIENT, SECRET, OBJECT, SUBSCRIPTION } = process.env;
const group = "node-secrets", location = "local", vault = "node-kv", other = "node-other-kv";
const retryOptions = { maxRetries: 0 };
const sts = { authorityHost: MANAGEMENT, disableInstanceDiscovery: true };
const credential = new ClientSecretCredential(TENANT, CLIENT, SECRET, sts);
const scope = `${MANAGEMENT}/.default`;
const vaults = new KeyVaultManagementClient(credential, SUBSCRIPTION, { endpoint: MANAGEMENT, credentials: { scopes: [scope] }, retryOptions }).vaults;
const identities = new ManagedServiceIdentityClient(credential, SUBSCRIPTION, { endpoint: MANAGEMENT, credentialScopes: [scope], retryOptions });

const seen = {};

async function all(list, pick) {
  const got = [];
  for await (const item of list) got.push(pick(item));
  return got;
}

// failure tells how a call fails: the status, the code, and the code inside.
async function failure(call) {
  try {
    await call();
    return "no failure";
  } catch (e) {
    return [e.statusCode ?? e.name, e.code, e.details?.error?.innerError?.code].filter((part) => part !== undefined).join(" ");
  }
}

const properties = { tenantId: TENANT, sku: { family: "A", name: "standard" }, enableRbacAuthorization: false, softDeleteRetentionInDays: 7 };
const everything = [{ tenantId: TENANT, objectId: OBJECT, permissions: { secrets: ["all", "purge"] } }];

async function makeVaults() {
  seen.free = (await vaults.checkNameAvailability({ name: vault, type: "Microsoft.KeyVault/vaults" })).nameAvailable;
  const made = await vaults.createOrUpdate(group, vault, { location, properties: { ...properties, accessPolicies: everything } });
  seen.vault = { uri: made.properties.vaultUri, state: made.properties.provisioningState, deletion: made.properties.enableSoftDelete };
  await vaults.createOrUpdate(group, other, { location, properties: { ...properties, accessPolicies: [] } });
  seen.vaults = await all(vaults.listBySubscription(), (v) => v.name);
  seen.taken = (await vaults.checkNameAvailability({ name: vault, type: "Microsoft.KeyVault/vaults" })).reason;
  const address = `https://${other}.${new URL(made.properties.vaultUri).host.split(".").slice(1).join(".")}`;
  const denied = new SecretClient(address, credential, { retryOptions });
  seen.denied = await failure(() => denied.getSecret("first"));
  await vaults.updateAccessPolicy(group, other, "add", { properties: { accessPolicies: everything } });
  seen.allowed = await failure(() => denied.getSecret("first"));
  return { client: new SecretClient(made.properties.vaultUri, credential, { retryOptions }), second: denied };
}

async function makeIdentity() {
  const made = await identities.userAssignedIdentities.createOrUpdate(group, "node-id", { location, tags: { team: "orders" } });
  const trust = await identities.federatedIdentityCredentials.createOrUpdate(group, "node-id", "pipeline", {
    issuer: "https://token.actions.example.com", subject: "repo:a/b", audiences: ["api://AzureADTokenExchange"],
  });
  seen.identity = {
    ids: [made.principalId, made.clientId].every((id) => /^[0-9a-f-]{36}$/.test(id)), tenant: made.tenantId === TENANT, subject: trust.subject,
    list: await all(identities.userAssignedIdentities.listByResourceGroup(group), (i) => i.name),
    trusts: await all(identities.federatedIdentityCredentials.list(group, "node-id"), (f) => f.name),
  };
  await identities.userAssignedIdentities.delete(group, "node-id");
  seen.identityGone = await failure(() => identities.userAssignedIdentities.get(group, "node-id"));
}

async function values(client) {
  const notBefore = new Date("2026-01-01T00:00:00Z"), expiresOn = new Date("2037-01-01T00:00:00Z");
  const first = await client.setSecret("first", "one", { contentType: "text/plain", tags: { a: "b" }, notBefore, expiresOn });
  const second = await client.setSecret("first", "two");
  const old = await client.getSecret("first", { version: first.properties.version });
  const current = await client.getSecret("first");
  seen.values = {
    old: old.value, current: current.value, newVersion: second.properties.version !== first.properties.version, name: current.name,
    contentType: old.properties.contentType, tags: old.properties.tags, expires: old.properties.expiresOn.toISOString(), notBefore: old.properties.notBefore.toISOString(),
    level: old.properties.recoveryLevel, days: old.properties.recoverableDays, enabled: current.properties.enabled, vault: current.properties.vaultUrl === seen.vault.uri.replace(/\/$/, ""),
  };
  const updated = await client.updateSecretProperties("first", second.properties.version, { contentType: "text/css", enabled: false, tags: { c: "d" } });
  seen.updated = { contentType: updated.contentType, enabled: updated.enabled, tags: updated.tags };
  seen.disabled = await failure(() => client.getSecret("first"));
  await client.updateSecretProperties("first", second.properties.version, { enabled: true });
  seen.versions = (await all(client.listPropertiesOfSecretVersions("first"), (p) => p.version)).sort().join() === [first, second].map((s) => s.properties.version).sort().join();
}

async function pages(client) {
  for (let i = 0; i < 29; i++) await client.setSecret(`many-${i}`, "x");
  seen.listed = new Set(await all(client.listPropertiesOfSecrets(), (p) => p.name)).size;
  seen.pages = await all(client.listPropertiesOfSecrets().byPage({ maxPageSize: 12 }), (page) => page.length);
}

async function removed(client) {
  const fast = { intervalInMs: 50 };
  const deleting = await client.beginDeleteSecret("first", fast);
  const gone = await deleting.pollUntilDone();
  seen.deleted = {
    name: gone.name, recovery: new URL(gone.recoveryId).pathname, days: Math.round((gone.scheduledPurgeDate - gone.deletedOn) / 864e5),
    value: gone.value ?? null, get: await failure(() => client.getSecret("first")), set: await failure(() => client.setSecret("first", "three")),
    list: await all(client.listDeletedSecrets(), (d) => d.name), shown: (await client.getDeletedSecret("first")).name,
  };
  const recovering = await client.beginRecoverDeletedSecret("first", fast);
  const back = await recovering.pollUntilDone();
  seen.recovered = { name: back.name, value: (await client.getSecret("first")).value };
}

async function moved(client, second) {
  const backup = await client.backupSecret("first");
  seen.restoreOver = await failure(() => client.restoreSecretBackup(backup));
  await (await client.beginDeleteSecret("first", { intervalInMs: 50 })).pollUntilDone();
  await client.purgeDeletedSecret("first");
  seen.purged = await failure(() => client.getDeletedSecret("first"));
  const restored = await client.restoreSecretBackup(backup);
  seen.restored = { name: restored.name, value: (await client.getSecret("first")).value, versions: (await all(client.listPropertiesOfSecretVersions("first"), (p) => p.version)).length };
  await second.restoreSecretBackup(backup);
  seen.restoredElsewhere = (await second.getSecret("first")).value;
}

async function refused(client) {
  const wrong = new SecretClient(client.vaultUrl, new ClientSecretCredential(TENANT, CLIENT, "wrong", sts), { retryOptions });
  seen.refused = {
    missing: await failure(() => client.getSecret("nothing")), version: await failure(() => client.getSecret("first", { version: "0".repeat(32) })),
    name: await failure(() => client.setSecret("not_a_name", "x")), size: await failure(() => client.setSecret("big", "x".repeat(26 * 1024))),
    tags: await failure(() => client.setSecret("tags", "x", { tags: Object.fromEntries([...Array(16).keys()].map((i) => [`t${i}`, "x"])) })),
    deleted: await failure(() => client.getDeletedSecret("first")), recover: await failure(() => client.beginRecoverDeletedSecret("nothing")),
    purge: await failure(() => client.purgeDeletedSecret("nothing")), backup: await failure(() => client.restoreSecretBackup(new Uint8Array([1, 2, 3]))),
    secret: await failure(() => wrong.getSecret("first")),
  };
  for (const version of ["7.4", "7.6", "2025-07-01"]) {
    const c = new SecretClient(client.vaultUrl, credential, { retryOptions, serviceVersion: version });
    seen.refused[version] = (await c.getSecret("first")).value;
  }
}

async function end(client) {
  for (const name of [vault, other]) await vaults.delete(group, name);
  seen.ended = await failure(() => client.getSecret("first"));
  seen.softDeleted = (await all(vaults.listDeleted(), (v) => v.name)).sort();
  seen.recreated = await failure(() => vaults.createOrUpdate(group, vault, { location, properties: { ...properties, accessPolicies: [] } }));
  await vaults.createOrUpdate(group, vault, { location, properties: { ...properties, createMode: "recover" } });
  seen.vaultBack = (await client.getSecret("first")).value;
  await vaults.delete(group, vault);
  for (const name of [vault, other]) await vaults.purgeDeleted(name, location);
  seen.vaultsLeft = await all(vaults.listDeleted(), (v) => v.name);
}

async function main() {
  const { client, second } = await makeVaults();
  await makeIdentity();
  await values(client);
  await pages(client);
  await removed(client);
  await moved(client, second);
  await refused(client);
  await end(client);
  fs.writeSync(1, JSON.stringify(seen));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
