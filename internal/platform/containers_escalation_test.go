package platform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
)

// Who reads container apps sees neither values of secrets nor into containers, and
// changes nothing.
func TestAReaderOfContainerAppsSeesNoSecretAndRunsNothing(t *testing.T) {
	c := startContained(t, platform.Config{})
	makeVault(t, c.Platform, "boxes", "db", hidden)
	a := c.secretApp("system", "")
	a["properties"].(object)["configuration"].(object)["secrets"].([]any)[1] = object{"name": "plain", "value": hidden}
	id := c.at("containerApps", "shop")
	c.Do(t, "PUT", id, a, nil)
	shop := c.settled("shop", "Failed")
	c.letRead(inside(shop, "identity", "principalId").(string))
	shop = c.settled("shop", "Succeeded")
	_, cred := principal(t, c.Platform, readerRole, c.Subscription())
	r := as(t, c.Platform, cred)
	revision := id + "/revisions/" + inside(shop, "properties", "latestRevisionName").(string)
	for _, at := range []string{id, id + "/revisions", revision, revision + "/replicas", id + "/secretReferences", id + "/secretReferences/db", c.group() + "/providers/Microsoft.App/containerApps", c.at("managedEnvironments", "env")} {
		var body bytes.Buffer
		if err := r.Stream(t.Context(), "GET", at, "", nil, &body); err != nil || body.Len() == 0 {
			t.Errorf("GET %s: %v", at, err)
		}
		if strings.Contains(body.String(), hidden) {
			t.Errorf("GET %s has the value", at)
		}
	}
	for _, at := range []string{"/listSecrets", "/LISTSECRETS", "/getAuthtoken", "/start", "/stop", "/secretReferences/refresh"} {
		refused(t, r, "POST", id+at, object{})
	}
	for _, at := range []string{"/activate", "/deactivate", "/restart"} {
		refused(t, r, "POST", revision+at, object{})
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		refused(t, r, method, id, object{})
		refused(t, r, method, c.at("managedEnvironments", "env"), object{})
	}
}

// Who manages an app, but not the identities there are, gives it none, whichever
// field names it; nor does naming one that the app does not have make it so.
func TestWhoWritesAContainerAppGivesItNoIdentity(t *testing.T) {
	c := startContained(t, platform.Config{})
	strong := c.identity("strong")
	id := c.at("containerApps", "shop")
	c.Do(t, "PUT", id, c.app(), nil)
	c.settled("shop", "Succeeded")
	_, cred := principal(t, c.Platform, contributorRole, id)
	w := as(t, c.Platform, cred)
	allowed(t, w, "PUT", id, c.app())
	refused(t, w, "PUT", c.at("containerApps", "other"), c.app())
	block := object{"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{strong: object{}}}}
	refused(t, w, "PATCH", id, block)
	refused(t, w, "PATCH", id, object{"identity": object{"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": object{strings.ToUpper(strong): object{}}}})
	put := c.app()
	put["identity"] = block["identity"]
	refused(t, w, "PUT", id, put)
	for _, which := range []string{strong, strings.ToUpper(strong), "system"} {
		for what, properties := range map[string]string{
			"registry": `{"configuration":{"registries":[{"server":"r.example","identity":"%s"}]}}`,
			"secret":   `{"configuration":{"secrets":[{"name":"s","keyVaultUrl":"https://boxes.vault.azure.net/secrets/s","identity":"%s"}]}}`,
			"setting":  `{"configuration":{"identitySettings":[{"identity":"%s","lifecycle":"All"}]}}`,
			"rule":     `{"template":{"scale":{"rules":[{"name":"q","azureQueue":{"accountName":"acct","queueName":"q","queueLength":1,"identity":"%s"}}]}}}`,
			"custom":   `{"template":{"scale":{"rules":[{"name":"q","custom":{"type":"azure-queue","identity":"%s","metadata":{"accountName":"acct","queueName":"q"}}}]}}}`,
		} {
			err := w.Do(t.Context(), "PATCH", id, object{"properties": json.RawMessage(strings.ReplaceAll(properties, "%s", which))}, nil)
			if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "identity") {
				t.Errorf("%s with %s: %v", what, which, err)
			}
		}
	}
	c.Do(t, "PATCH", id, block, nil) // its owner may
	allowed(t, w, "PATCH", id, object{"tags": object{"a": "b"}})
	stronger := c.identity("stronger")
	refused(t, w, "PATCH", id, object{"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{strong: object{}, stronger: object{}}}})
}
