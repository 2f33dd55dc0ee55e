package containerapps_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

const (
	program  = "github.com/latchkey/latchkey/test/containerapps/program"
	latchkey = "github.com/latchkey/latchkey/cmd/latchkey"
	image    = "latchkey-test-identities:1"
)

type object = map[string]any

func inside(o object, path ...string) any {
	var at any = o
	for _, name := range path {
		m, ok := at.(object)
		if !ok {
			return nil
		}
		at = m[name]
	}
	return at
}

// folderImage makes the folder of an image of the test's program, as the engine of
// processes has them.
func folderImage(t testing.TB) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "image")
	text, _ := json.Marshal(object{"command": []string{localengine.Build(t, program)}})
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "container.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// arm is the management API of a node, as its owner.
type arm struct {
	*armclient.Client
	subscription string
}

func armOf(c *armclient.Client, cred armclient.Credential) arm {
	return arm{c, "/subscriptions/" + cred.SubscriptionID}
}

func (a arm) do(t testing.TB, method, path string, in any) object {
	t.Helper()
	out := object{}
	if err := a.Do(t.Context(), method, path, in, &out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

func (a arm) group() string { return a.subscription + "/resourceGroups/rg" }

func (a arm) at(kind, name string) string {
	return a.group() + "/providers/Microsoft.App/" + kind + "/" + name
}

func (a arm) app(name string) string { return a.at("containerApps", name) }

// prepare makes the group and the environment.
func (a arm) prepare(t testing.TB) {
	t.Helper()
	a.do(t, "PUT", a.group(), object{"location": "local"})
	a.do(t, "PUT", a.at("managedEnvironments", "env"), object{"location": "local", "properties": object{
		"workloadProfiles": []any{object{"name": "Consumption", "workloadProfileType": "Consumption"}}}})
}

// who is an identity with what requests can name it by.
type who struct{ id, client, principal string }

func (a arm) identity(t testing.TB, name string) who {
	t.Helper()
	id := a.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
	got := a.do(t, "PUT", id, object{"location": "local"})
	return who{id, inside(got, "properties", "clientId").(string), inside(got, "properties", "principalId").(string)}
}

// system gives an app's own identity.
func (a arm) system(t testing.TB, app string) who {
	t.Helper()
	got := a.do(t, "GET", a.app(app)+"/providers/Microsoft.ManagedIdentity/identities/default", nil)
	return who{a.app(app), inside(got, "properties", "clientId").(string), inside(got, "properties", "principalId").(string)}
}

// body makes an app of the test's program: an init container that asks, if there is
// anything to ask, and a main one.
func (a arm) body(image string, ids, settings any, ask []string, replicas int) object {
	resources := object{"cpu": 0.25, "memory": "0.5Gi"}
	mounts := []any{object{"volumeName": "shared", "mountPath": "/shared"}}
	template := object{
		"containers": []any{object{"name": "main", "image": image, "args": []string{"main"}, "resources": resources, "volumeMounts": mounts}},
		"volumes":    []any{object{"name": "shared", "storageType": "EmptyDir"}},
		"scale":      object{"minReplicas": replicas, "maxReplicas": replicas}, "terminationGracePeriodSeconds": 1,
	}
	if len(ask) > 0 {
		template["initContainers"] = []any{object{"name": "init", "image": image, "args": []string{"init"}, "resources": resources, "volumeMounts": mounts,
			"env": []any{object{"name": "ASK", "value": strings.Join(ask, "\n")}}}}
	}
	return object{"location": "local", "identity": ids, "properties": object{
		"environmentId": a.at("managedEnvironments", "env"), "workloadProfileName": "Consumption",
		"configuration": object{"ingress": object{"external": true, "targetPort": 8080}, "identitySettings": settings}, "template": template,
	}}
}

// settled waits until an app runs as it is wanted.
func (a arm) settled(t testing.TB, name string) object {
	t.Helper()
	var got object
	platformtest.Until(t, name+" runs", func() bool {
		got = nil
		if err := a.Do(t.Context(), "GET", a.app(name), nil, &got); err != nil {
			return false
		}
		if inside(got, "properties", "provisioningState") == "Failed" {
			t.Fatalf("%s: %v", name, inside(got, "properties", "deploymentErrors"))
		}
		return inside(got, "properties", "provisioningState") == "Succeeded"
	})
	return got
}

// replicas names the replicas of an app's newest revision.
func (a arm) replicas(ctx context.Context, app object) ([]string, error) {
	var list object
	revision, _ := inside(app, "properties", "latestRevisionName").(string)
	if err := a.Do(ctx, "GET", app["id"].(string)+"/revisions/"+revision+"/replicas", nil, &list); err != nil {
		return nil, err
	}
	names := []string{}
	for _, one := range list["value"].([]any) {
		names = append(names, one.(object)["name"].(string))
	}
	return names, nil
}

// What a container says; see the program.
type (
	told struct {
		Header  string            `json:"header"`
		Answers map[string]answer `json:"answers"`
	}
	answer struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
		Micros int64  `json:"micros"`
	}
	question struct {
		Header  string   `json:"header"`
		Queries []string `json:"queries"`
		Times   int      `json:"times"`
	}
)

// talk sends a question to a container, or asks what its init container was told. q
// may be nil.
func talk(ctx context.Context, url, host string, q *question) (got told, err error) {
	method, body := "GET", []byte(nil)
	if q != nil {
		method = "POST"
		body, _ = json.Marshal(q)
	}
	ctx, cancel := context.WithTimeout(ctx, platformtest.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return got, err
	}
	if host != "" {
		r.Host = host
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return got, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d %s", res.StatusCode, text)
	}
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	return got, err
}
