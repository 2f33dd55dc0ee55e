package containerapps_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// azPut does what the command line tool does after it read an app: it asks for the
// values of the secrets, puts them in, sends the whole body back and waits.
func (f *fixture) azPut(change func(app object)) object {
	f.Helper()
	app := f.object(200, "GET", appAt, "")
	if _, there := at(app, "properties", "configuration").(object)["secrets"]; there {
		set(app, f.object(200, "POST", appAt+"/listSecrets", "")["value"], "properties", "configuration", "secrets")
	}
	change(app)
	w := f.call("PUT", appAt, text(app))
	switch {
	case w.Code == 201 && w.Header().Get("Azure-AsyncOperation") == "":
		f.Fatal("201 without the header that the tool wants")
	case w.Code != 200 && w.Code != 201:
		f.Fatalf("PUT answers %d: %s", w.Code, w.Body)
	}
	return f.object(200, "GET", appAt, "")
}

// az containerapp identity assign, show, remove, as the tool sends them: the ids in
// lower case, the group's among them.
func TestTheCommandLineToolsIdentitySequence(t *testing.T) {
	f := newFixture(t)
	f.environment()
	one, two := f.user("One"), f.user("Two")
	w := f.want(201, "PUT", appAt, `{"location":"local","properties":{"environmentId":"`+envAt+`","configuration":{
		"secrets":[{"name":"password","value":"hidden"},{"name":"other","value":"too"}]},
		"template":{"containers":[{"name":"main","image":"i","env":[{"name":"P","secretRef":"password"}]}]}}}`)
	status := f.object(200, "GET", w.Header().Get("Azure-AsyncOperation"), "")
	if status["status"] != "Succeeded" {
		t.Fatalf("status: %v", status)
	}
	before := f.object(200, "GET", appAt, "")
	if got := text(before["identity"]); got != `{"type":"None"}` {
		t.Errorf("at first: %s", got)
	}

	after := f.azPut(func(app object) { app["identity"] = object{"type": "SystemAssigned"} })
	principal := at(after, "identity", "principalId")
	if at(after, "identity", "type") != "SystemAssigned" || principal == nil || at(after, "identity", "tenantId") != tenant {
		t.Errorf("assign --system-assigned: %s", text(after["identity"]))
	}
	after = f.azPut(func(app object) {
		app["identity"].(object)["type"] = "SystemAssigned,UserAssigned"
		app["identity"].(object)["userAssignedIdentities"] = object{strings.ToLower(one): object{}, strings.ToLower(two): object{}}
	})
	if at(after, "identity", "type") != "SystemAssigned,UserAssigned" || at(after, "identity", "principalId") != principal ||
		len(at(after, "identity", "userAssignedIdentities").(object)) != 2 || strings.Contains(text(after["identity"]), "null") {
		t.Errorf("assign --user-assigned: %s", text(after["identity"]))
	}
	after = f.azPut(func(app object) {
		for name := range at(app, "identity", "userAssignedIdentities").(object) {
			if strings.EqualFold(name, two) {
				delete(at(app, "identity", "userAssignedIdentities").(object), name)
			}
		}
	})
	if got := at(after, "identity", "userAssignedIdentities").(object); len(got) != 1 || !strings.Contains(strings.ToLower(text(got)), "/one") {
		t.Errorf("remove --user-assigned: %s", text(after["identity"]))
	}
	after = f.azPut(func(app object) {
		app["identity"] = object{"type": "SystemAssigned", "userAssignedIdentities": nil}
	})
	if at(after, "identity", "type") != "SystemAssigned" || at(after, "identity", "principalId") != principal || at(after, "identity", "userAssignedIdentities") != nil {
		t.Errorf("remove of the last: %s", text(after["identity"]))
	}
	after = f.azPut(func(app object) { app["identity"] = object{"type": "None"} })
	if got := text(after["identity"]); got != `{"type":"None"}` {
		t.Errorf("remove --system-assigned: %s", got)
	}
	for _, path := range []string{"latestRevisionName", "configuration", "template"} {
		if text(at(before, "properties", path)) != text(at(after, "properties", path)) {
			t.Errorf("%s changed: %s, was %s", path, text(at(after, "properties", path)), text(at(before, "properties", path)))
		}
	}
	after = f.azPut(func(app object) { app["identity"] = object{"type": "SystemAssigned"} })
	if p := at(after, "identity", "principalId"); p == nil || p == principal {
		t.Errorf("assigned anew, the identity has the principal %v, was %v", p, principal)
	}
	if secrets := f.object(200, "POST", appAt+"/listSecrets", ""); text(secrets["value"]) != `[{"name":"password","value":"hidden"},{"name":"other","value":"too"}]` {
		t.Errorf("secrets: %s", text(secrets))
	}
	if f.secrets == 0 {
		t.Error("reading secrets was not recorded as such")
	}
}

func TestSecretsAreWriteOnly(t *testing.T) {
	f := newFixture(t)
	f.environment()
	body := func(secrets string) string {
		return `{"location":"local","properties":{"environmentId":"` + envAt + `","configuration":{"secrets":` + secrets + `},
			"template":{"containers":[{"name":"main","image":"i"}]}}}`
	}
	values := func() string { return text(f.object(200, "POST", appAt+"/listSecrets", "")["value"]) }
	f.want(201, "PUT", appAt, body(`[{"name":"a","value":"s3cret"},{"name":"b","value":"other"}]`))
	for _, read := range []string{appAt, groupAt + "/providers/Microsoft.App/containerApps"} {
		if w := f.want(200, "GET", read, ""); strings.Contains(w.Body.String(), "s3cret") || !strings.Contains(w.Body.String(), `{"name":"a"}`) {
			t.Errorf("%s: %s", read, w.Body)
		}
	}
	f.want(200, "PUT", appAt, body(`[{"name":"a"},{"name":"b","value":""}]`))
	if got := values(); got != `[{"name":"a","value":"s3cret"},{"name":"b","value":"other"}]` {
		t.Errorf("without values: %s", got)
	}
	f.want(200, "PUT", appAt, body(`[{"name":"a","value":"new"}]`))
	if got := values(); got != `[{"name":"a","value":"new"}]` {
		t.Errorf("without one: %s", got)
	}
	w := f.want(400, "PUT", appAt, body(`[{"name":"a"},{"name":"b"}]`))
	if !strings.Contains(w.Body.String(), "ContainerAppSecretInvalid") {
		t.Errorf("a removed secret came back: %s", w.Body)
	}
	f.want(200, "PATCH", appAt, `{"properties":{"configuration":{"secrets":[{"name":"a"},{"name":"c","value":"C"}]}}}`)
	if got := values(); got != `[{"name":"a","value":"new"},{"name":"c","value":"C"}]` {
		t.Errorf("after a patch: %s", got)
	}
	f.want(200, "PATCH", appAt, `{"tags":{"x":"y"}}`)
	if got := values(); got != `[{"name":"a","value":"new"},{"name":"c","value":"C"}]` {
		t.Errorf("after a patch of tags: %s", got)
	}
	f.want(200, "PATCH", appAt, `{"properties":{"configuration":{"secrets":null}}}`)
	if got := values(); got != `[]` {
		t.Errorf("after null: %s", got)
	}
}

func TestOnlyTemplatesMakeRevisions(t *testing.T) {
	f := newFixture(t)
	f.environment()
	one := f.user("one")
	f.want(201, "PUT", appAt, plain("i:1"))
	latest := func() string { return at(f.object(200, "GET", appAt, ""), "properties", "latestRevisionName").(string) }
	first := latest()
	if !strings.HasPrefix(first, "orders--") || len(first) != len("orders--")+7 {
		t.Errorf("first revision: %q", first)
	}
	for _, same := range []string{
		`{"identity":{"type":"SystemAssigned"}}`,
		`{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"` + one + `":{}}}}`,
		`{"properties":{"configuration":{"identitySettings":[{"identity":"` + one + `","lifecycle":"Init"},{"identity":"System","lifecycle":"none"}]}}}`,
		`{"properties":{"configuration":{"ingress":{"targetPort":81}}}}`,
		`{"properties":{"configuration":{"secrets":[{"name":"a","value":"b"}]}}}`,
		`{"properties":{"template":{"containers":[{"name":"main","image":"i:1","env":[],"resources":{"cpu":0.5,"memory":"1Gi"}}],"scale":{"maxReplicas":10}}}}`,
		`{"properties":{"configuration":{"identitySettings":[]}},"identity":{"type":"SystemAssigned,UserAssigned","userAssignedIdentities":{"` + strings.ToLower(one) + `":null}}}`,
	} {
		if strings.HasSuffix(same, "null}}}") {
			same = strings.Replace(same, "SystemAssigned,UserAssigned", "SystemAssigned", 1)
		}
		f.want(200, "PATCH", appAt, same)
		if got := latest(); got != first {
			t.Errorf("%s made revision %s", same, got)
		}
	}
	f.want(200, "PUT", appAt, f.want(200, "GET", appAt, "").Body.String())
	if got := latest(); got != first {
		t.Errorf("what was read made revision %s", got)
	}
	f.want(200, "PATCH", appAt, `{"properties":{"template":{"revisionSuffix":"v2","containers":[{"name":"main","image":"i:2"}]}}}`)
	if got := latest(); got != "orders--v2" {
		t.Errorf("another image: %s", got)
	}
	w := f.want(400, "PATCH", appAt, `{"properties":{"template":{"containers":[{"name":"main","image":"i:3"}]}}}`)
	if !strings.Contains(w.Body.String(), "revision with suffix v2 already exists") {
		t.Errorf("the same suffix: %s", w.Body)
	}
	list := f.object(200, "GET", appAt+"/revisions", "")["value"].([]any)
	if len(list) != 2 || at(list[0], "name") != first || at(list[1], "properties", "active") != true {
		t.Errorf("revisions: %s", text(list))
	}
}

func TestAPatchMergesAndListsAreReplaced(t *testing.T) {
	f := newFixture(t)
	f.environment()
	f.want(201, "PUT", appAt, plain("i:1"))
	f.want(200, "PATCH", appAt, `{"tags":{"a":"1","b":"2"},"properties":{"configuration":{"INGRESS":{"allowInsecure":true}},"template":{"scale":{"minReplicas":1}}}}`)
	f.want(200, "PATCH", appAt, `{"tags":{"a":null,"c":"3"}}`)
	app := f.object(200, "GET", appAt, "")
	if text(app["tags"]) != `{"b":"2","c":"3"}` || at(app, "properties", "configuration", "ingress", "targetPort") != 80.0 ||
		at(app, "properties", "configuration", "ingress", "allowInsecure") != true || at(app, "properties", "template", "scale", "minReplicas") != 1.0 ||
		at(app, "properties", "template", "containers", 0, "image") != "i:1" {
		t.Errorf("merged: %s", text(app))
	}
	f.want(200, "PATCH", appAt, `{"properties":{"configuration":{"ingress":null}}}`)
	app = f.object(200, "GET", appAt, "")
	ingress, there := at(app, "properties", "configuration").(object)["ingress"]
	if ingress != nil || !there || at(app, "properties", "latestRevisionFqdn") != "" {
		t.Errorf("without ingress: %s", text(app))
	}
	var names object
	if err := json.Unmarshal([]byte(text(at(app, "properties", "configuration"))), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secrets", "registries", "identitySettings", "ingress", "activeRevisionsMode", "dapr", "maxInactiveRevisions"} {
		if _, there := names[name]; !there {
			t.Errorf("configuration.%s is not there", name)
		}
	}
}

// az containerapp update sends a PATCH, follows Location while that answers 202, and
// takes the body of the answer after that.
func TestTheCommandLineToolFollowsAPatchByItsLocation(t *testing.T) {
	f := newFixture(t, running(&runs{}))
	f.environment()
	w := f.want(201, "PUT", appAt, plain("i:1"))
	status := w.Header().Get("Azure-AsyncOperation")
	if got := f.object(200, "GET", status, "")["status"]; got != "InProgress" {
		t.Errorf("at first: %v", got)
	}
	if h := f.want(200, "GET", status, "").Header(); h.Get("Retry-After") != "1" || h.Get("X-Go-Azure-Sdk-Skip-Polling-Delay") != "" {
		t.Errorf("the azurerm provider would ask again at once, all the time: %v", h)
	}
	f.report(f.latest(), ready)
	if got := f.object(200, "GET", status, "")["status"]; got != "Succeeded" {
		t.Errorf("when it is ready: %v", got)
	}
	w = f.want(202, "PATCH", appAt, `{"properties":{"template":{"containers":[{"name":"main","image":"i:2"}]}}}`)
	location, second := w.Header().Get("Location"), f.latest()
	w = f.want(202, "GET", location, "")
	if w.Header().Get("Location") == "" || w.Header().Get("Retry-After") == "" {
		t.Errorf("while it goes on: %v", w.Header())
	}
	f.report(second, ready)
	if app := f.object(200, "GET", location, ""); at(app, "properties", "latestReadyRevisionName") != second || at(app, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("after that: %s", text(app))
	}
	w = f.want(202, "PATCH", appAt, `{"properties":{"template":{"containers":[{"name":"main","image":"i:3"}]}}}`)
	location = w.Header().Get("Location")
	f.want(202, "PATCH", appAt, `{"properties":{"template":{"containers":[{"name":"main","image":"i:4"}]}}}`)
	f.want(409, "GET", location, "") // it was superseded
	f.want(200, "DELETE", appAt, "")
	if got := f.object(200, "GET", status, "")["status"]; got != "Canceled" {
		t.Errorf("of an app that is gone: %v", got)
	}
	f.want(409, "GET", location, "")
}
