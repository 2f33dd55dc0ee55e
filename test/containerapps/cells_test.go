package containerapps_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

// Lifecycles, and in which containers they let an identity be used.
var (
	lifecycles = []string{"All", "Init", "Main", "None"}
	allows     = map[string]map[string]bool{"All": {"init": true, "main": true}, "Init": {"init": true}, "Main": {"main": true}, "None": {}}
)

// Selectors of an identity in a token request.
var selectors = []string{"none", "client_id", "principal_id", "mi_res_id"}

// query names an identity in a token request.
func query(w who, selector string) string {
	value := map[string]string{"client_id": w.client, "principal_id": w.principal, "mi_res_id": strings.ToLower(w.id)}[selector]
	if value == "" {
		return "" // the app's own
	}
	return selector + "=" + url.QueryEscape(value)
}

// queries gives all that can be asked about some identities, each once.
func queries(list ...who) []string {
	out := []string{""}
	for _, w := range list {
		for _, s := range selectors[1:] {
			out = append(out, query(w, s))
		}
	}
	return out
}

// granted gives the object id that an answer's token is for; "" for an answer without
// one.
func granted(a answer) string {
	if a.Status != 200 {
		return ""
	}
	var body struct {
		Token string `json:"access_token"`
	}
	var claims struct {
		Object   string `json:"oid"`
		Audience string `json:"aud"`
	}
	if json.Unmarshal([]byte(a.Body), &body) != nil {
		return "no JSON"
	}
	parts := strings.Split(body.Token, ".")
	if len(parts) != 3 {
		return "no token"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Audience != "https://vault.azure.net" {
		return "no token for the resource"
	}
	return claims.Object
}

// isRefusal reports whether an answer is the documented one to who asks for an
// identity that is not the container's.
func isRefusal(a answer) bool {
	var body map[string]any
	return a.Status == 400 && json.Unmarshal([]byte(a.Body), &body) == nil && len(body) == 3 && body["statusCode"] == 400.0 &&
		body["message"] == "Unable to load the proper Managed Identity." && body["correlationId"] != ""
}

// isDead reports whether an answer is the documented one to a secret that does not
// count.
func isDead(a answer) bool { return a.Status == 403 && a.Body == "" }

// cell is one field of the matrix.
type cell struct {
	life, role, kind, selector string
}

// checkCell checks the answer to a container that asked for an identity.
func checkCell(t *testing.T, when string, c cell, w who, a answer, allowed bool) {
	t.Helper()
	switch {
	case allowed && granted(a) != w.principal:
		t.Errorf("%s, %+v: no token of the identity: %d %s", when, c, a.Status, a.Body)
	case !allowed && !isRefusal(a):
		t.Errorf("%s, %+v: not refused as documented: %d %s", when, c, a.Status, a.Body)
	}
}
