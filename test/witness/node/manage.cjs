// Drives a running installation with the JavaScript management libraries, from the
// creation of an app to its end, and tells on standard output what it saw, as
// JSON. Between the steps it asks the test, through a server of the test, to deploy
// and to call the app: name servers do not know names below localhost.
const fs = require("node:fs");
const { ClientSecretCredential } = require("@azure/identity");
const { WebSiteManagementClient } = require("@azure/arm-appservice");
const { ResourceManagementClient } = require("@azure/arm-resources");

const { MANAGEMENT, TENANT, CLIENT, SECRET, SUBSCRIPTION, UPSTREAM, TEST } = process.env;
const group = "node-group", app = "node-app";
const scope = `${MANAGEMENT}/.default`;
const credential = new ClientSecretCredential(TENANT, CLIENT, SECRET, { authorityHost: MANAGEMENT, disableInstanceDiscovery: true });
const retryOptions = { maxRetries: 0 };
const resources = new ResourceManagementClient(credential, SUBSCRIPTION, { endpoint: MANAGEMENT, credentialScopes: [scope], retryOptions });
const web = new WebSiteManagementClient(credential, SUBSCRIPTION, { endpoint: MANAGEMENT, credentials: { scopes: [scope] }, retryOptions });

const seen = {};

// test asks the test to do something and gives its answer.
async function test(what, params = {}) {
  const query = new URLSearchParams(params);
  const answer = await fetch(`${TEST}/${what}?${query}`);
  if (!answer.ok) throw new Error(`${what}: ${answer.status} ${await answer.text()}`);
  return answer.text();
}

async function names(list) {
  const all = [];
  for await (const item of list) all.push(item.name);
  return all;
}

// failure tells the status and code that a call fails with.
async function failure(call) {
  try {
    await call();
    return "no failure";
  } catch (e) {
    return `${e.statusCode} ${e.code}`;
  }
}

async function create() {
  seen.groupBefore = (await resources.resourceGroups.checkExistence(group)).body;
  const made = await resources.resourceGroups.createOrUpdate(group, { location: "local", tags: { a: "b" } });
  seen.group = made.name;
  const plan = await web.appServicePlans.createOrUpdate(group, "node-plan", { location: "local", sku: { name: "Y1" }, reserved: true });
  seen.plan = plan.sku.tier;
  const site = await web.webApps.createOrUpdate(group, app, {
    location: "local", kind: "functionapp,linux", serverFarmId: plan.id,
    siteConfig: { appSettings: [{ name: "TESTKIT_UPSTREAM", value: UPSTREAM }, { name: "FUNCTIONS_WORKER_RUNTIME", value: "custom" }] },
  });
  seen.state = site.state;
  seen.host = site.defaultHostName;
  seen.lists = { groups: await names(resources.resourceGroups.list()), apps: await names(web.webApps.listByResourceGroup(group)) };
}

async function configure() {
  const settings = await web.webApps.listApplicationSettings(group, app);
  await web.webApps.updateApplicationSettings(group, app, {
    properties: { ...settings.properties, GREETING: "hello", REF: "@Microsoft.KeyVault(VaultName=kv;SecretName=s)" },
  });
  seen.settings = (await web.webApps.listApplicationSettings(group, app)).properties;
  await test("deploy", { app });
}

async function rotate() {
  const keys = await web.webApps.listHostKeys(group, app);
  seen.keys = { master: typeof keys.masterKey, default: typeof keys.functionKeys.default };
  await test("await", { app, key: keys.functionKeys.default, status: 200 });
  const set = await web.webApps.createOrUpdateHostSecret(group, app, "functionKeys", "default", { name: "default", value: "rotated-by-the-node-client-0123456789-abcd" });
  seen.set = set.value;
  await test("await", { app, key: keys.functionKeys.default, status: 401 });
  await test("await", { app, key: set.value, status: 200 });
  return set.value;
}

async function readStopped(key) {
  await web.webApps.stop(group, app);
  await test("await", { app, key, status: 403 });
  const w = web.webApps;
  const site = await w.get(group, app);
  seen.stopped = site.state;
  for (const read of ["getConfiguration", "listApplicationSettings", "listConnectionStrings", "listSlotConfigurationNames", "listAzureStorageAccounts",
    "listMetadata", "getAuthSettings", "getAuthSettingsV2", "getDiagnosticLogsConfiguration", "getFtpAllowed", "getScmAllowed",
    "listHostKeys", "listSyncFunctionTriggers", "listSitePushSettings", "listPublishingCredentials"]) {
    await w[read](group, app);
  }
  seen.functions = await names(w.listFunctions(group, app));
  seen.functionKeys = typeof (await w.listFunctionSecrets(group, app, "f")).key;
  await w.listFunctionKeys(group, app, "f");
  seen.references = await names(w.listAppSettingsKeyVaultReferences(group, app));
  seen.deployments = (await names(w.listDeployments(group, app))).length;
  for (const list of ["listHostNameBindings", "listInstanceIdentifiers", "listUsages", "listSiteExtensions", "listConfigurations"]) {
    await names(w[list](group, app));
  }
}

async function end(key) {
  await web.webApps.start(group, app);
  await test("await", { app, key, status: 200 });
  await web.webApps.delete(group, app);
  seen.deleted = await failure(() => web.webApps.get(group, app));
  await resources.resourceGroups.beginDeleteAndWait(group);
  seen.groupDeleted = await failure(() => resources.resourceGroups.get(group));
}

async function main() {
  await create();
  await configure();
  const key = await rotate();
  await readStopped(key);
  await end(key);
  fs.writeSync(1, JSON.stringify(seen));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
