package platform_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

const secretsUser = "4633458b-17de-408a-b874-0445c86b69e6"

// secretApp is an app whose container gets secrets of the vault "boxes" as DB, PINNED
// and PLAIN, and one as a file.
func (c *contained) secretApp(identity, version string) object {
	a := c.app()
	a["identity"] = object{"type": "SystemAssigned"}
	if identity != "system" {
		a["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{identity: object{}}}
	}
	secrets := []any{
		object{"name": "db", "keyVaultUrl": "https://boxes.vault.azure.net/secrets/db", "identity": identity},
		object{"name": "plain", "value": "text"},
	}
	env := []any{object{"name": "DB", "secretRef": "db"}, object{"name": "PLAIN", "secretRef": "plain"}}
	if version != "" {
		secrets = append(secrets, object{"name": "pinned", "keyVaultUrl": "https://boxes.vault.azure.net/secrets/db/" + version, "identity": identity})
		env = append(env, object{"name": "PINNED", "secretRef": "pinned"})
	}
	p := a["properties"].(object)
	p["configuration"].(object)["secrets"] = secrets
	template := p["template"].(object)
	template["volumes"] = []any{object{"name": "v", "storageType": "Secret", "secrets": []any{object{"secretRef": "db", "path": "db.txt"}}}}
	main := template["containers"].([]any)[0].(object)
	main["env"], main["volumeMounts"] = env, []any{object{"volumeName": "v", "mountPath": "/secrets"}}
	return a
}

// letRead lets a principal read the secrets of the vault "boxes".
func (c *contained) letRead(principal string) string {
	c.t.Helper()
	id := vaultID(c.Platform, "boxes") + "/providers/Microsoft.Authorization/roleAssignments/11111111-1111-1111-1111-111111111111"
	c.Do(c.t, "PUT", id, object{"properties": object{
		"roleDefinitionId": c.Subscription() + "/providers/Microsoft.Authorization/roleDefinitions/" + secretsUser,
		"principalId":      principal, "principalType": "ServicePrincipal",
	}}, nil)
	return id
}

// wantEnv waits until the app's container finds a value in its environment.
func (c *contained) wantEnv(a object, name, want string) {
	c.t.Helper()
	platformtest.Until(c.t, name+" is "+want, func() bool {
		status, body := c.get(a, "/env?"+name)
		return status == 200 && body == want
	})
}

// secretStatus gives how a secret of an app stands.
func (c *contained) secretStatus(a object, name string) object {
	c.t.Helper()
	var one object
	c.Do(c.t, "GET", a["id"].(string)+"/secretReferences/"+name, nil, &one)
	return one["properties"].(object)
}

func TestSecretsOfAContainerAppComeFromAVault(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	makeVault(t, c.Platform, "boxes", "db", "one")
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.secretApp("system", ""), nil)

	// The first deployment: the identity is there, its permission is not.
	shop := c.settled("shop", "Failed")
	principal := fmt.Sprint(inside(shop, "identity", "principalId"))
	text := fmt.Sprint(inside(shop, "properties", "deploymentErrors"))
	for _, want := range []string{"'db'", "https://boxes.vault.azure.net/secrets/db", "'system'", "latchkey role assign", principal} {
		if !strings.Contains(text, want) {
			t.Errorf("the reason does not say %q: %s", want, text)
		}
	}
	if s := c.secretStatus(shop, "db"); s["status"] != "AccessToKeyVaultDenied" || s["stale"] != false {
		t.Errorf("without a permission: %v", s)
	}
	assignment := c.letRead(principal)
	shop = c.settled("shop", "Succeeded")
	c.wantEnv(shop, "DB", "one")
	c.wantEnv(shop, "PLAIN", "text")
	if _, body := c.get(shop, "/file?secrets/db.txt"); body != "one" {
		t.Errorf("the file has %q", body)
	}

	// Another version reaches what runs; one that is named does not change.
	version := fmt.Sprint(c.secretStatus(shop, "db")["activeVersion"])
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.secretApp("system", version), nil)
	shop = c.settled("shop", "Succeeded")
	c.wantEnv(shop, "PINNED", "one")
	revision := inside(shop, "properties", "latestRevisionName")
	setSecret(t, c.Platform, "boxes", "db", "two")
	c.wantEnv(shop, "DB", "two")
	c.wantEnv(shop, "PINNED", "one")
	platformtest.Until(t, "the file is a new one", func() bool { _, body := c.get(shop, "/file?secrets/db.txt"); return body == "two" })
	if now := inside(c.settled("shop", "Succeeded"), "properties", "latestRevisionName"); now != revision {
		t.Errorf("a new value made revision %v after %v", now, revision)
	}

	// Nothing that befalls the vault takes the values away.
	c.Do(t, "DELETE", assignment, nil, nil)
	c.Do(t, "DELETE", vaultID(c.Platform, "boxes"), nil, nil)
	c.Do(t, "POST", c.at("containerApps", "shop")+"/stop", nil, nil)
	platformtest.Until(t, "nothing runs", func() bool { return c.replicas(shop) == "" })
	c.Stop(t)
	c.Restart(t)
	c.Do(t, "POST", c.at("containerApps", "shop")+"/start", nil, nil)
	c.wantEnv(shop, "DB", "two")
	c.wantEnv(shop, "PINNED", "one")
	platformtest.Until(t, "the status says that the value is old", func() bool { return c.secretStatus(shop, "db")["stale"] == true })

	c.Do(t, "DELETE", c.at("containerApps", "shop"), nil, nil)
	if err := c.Client.Do(t.Context(), "GET", c.at("containerApps", "shop")+"/secretReferences", nil, nil); problem.KindOf(err) != problem.NotFound {
		t.Errorf("the secrets of a deleted app: %v", err)
	}
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.secretApp("system", ""), nil)
	c.settled("shop", "Failed") // what another life of it read is gone
}

func TestAnIdentityWithoutContainersReadsSecrets(t *testing.T) {
	c := startContained(t, platform.Config{})
	makeVault(t, c.Platform, "boxes", "db", "one")
	reader := c.identity("reader")
	var made object
	c.Do(t, "GET", reader, nil, &made)
	c.letRead(fmt.Sprint(inside(made, "properties", "principalId")))
	a := c.secretApp(reader, "")
	a["properties"].(object)["configuration"].(object)["identitySettings"] = []any{object{"identity": reader, "lifecycle": "None"}}
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	c.wantEnv(shop, "DB", "one")
	if status, body := c.get(shop, of(reader)); status != 400 {
		t.Errorf("the container got a token: %d %s", status, body)
	}
}
