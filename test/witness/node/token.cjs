// Gets tokens in every way that a client without a user can, and tells on standard
// output what it got, as JSON.
const fs = require("node:fs");
const identity = require("@azure/identity");

const { AUTHORITY, TENANT, CLIENT, SECRET, CERTIFICATE, ASSERTION } = process.env;
const options = { authorityHost: AUTHORITY, disableInstanceDiscovery: true };
const scope = "https://management.azure.com/.default";

async function outcome(get) {
  try {
    const { token, expiresOnTimestamp } = await get();
    return { token, expires: expiresOnTimestamp };
  } catch (e) {
    return { error: e.name, message: e.message };
  }
}

async function main() {
  const secret = new identity.ClientSecretCredential(TENANT, CLIENT, SECRET, options);
  const wrong = new identity.ClientSecretCredential(TENANT, CLIENT, "wrong", options);
  const certificate = new identity.ClientCertificateCredential(TENANT, CLIENT, { certificatePath: CERTIFICATE }, options);
  const assertion = new identity.ClientAssertionCredential(TENANT, CLIENT, async () => ASSERTION, options);
  const result = {
    secret: await outcome(() => secret.getToken(scope)),
    wrong: await outcome(() => wrong.getToken(scope)),
    // The second one within minutes comes with the same assertion.
    certificate: await outcome(() => certificate.getToken(scope)),
    again: await outcome(() => certificate.getToken("https://storage.azure.com/.default")),
    assertion: await outcome(() => assertion.getToken(scope)),
  };
  fs.writeSync(1, JSON.stringify(result));
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
