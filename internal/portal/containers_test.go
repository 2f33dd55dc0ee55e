package portal

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const hostile = `\"><b>x</b>`

// containerAPI answers for one container app, all of whose names are hostile.
func containerAPI(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	answer := `{"value":[]}`
	switch {
	case r.Method == http.MethodPost && strings.HasSuffix(path, "/stop"):
		w.WriteHeader(http.StatusForbidden)
		answer = `{"error":{"code":"AuthorizationFailed","message":"no role <b>allows</b> it"}}`
	case strings.HasSuffix(path, "/ResourceGraph/resources"), strings.HasSuffix(path, "/resources"):
		answer = `{"data":[{"name":"shop","resourceGroup":"` + hostile + `"}],"totalRecords":1}`
	case strings.HasSuffix(path, "/containerApps/shop"):
		answer = `{"name":"shop","identity":{"type":"UserAssigned","userAssignedIdentities":{"/x/` + hostile + `":{}}},"properties":{"latestRevisionName":"` + hostile + `",
			"provisioningState":"Failed","deploymentErrors":"` + hostile + `","configuration":{"activeRevisionsMode":"Multiple","ingress":{"fqdn":"` + hostile + `","traffic":[{"revisionName":"` + hostile + `","weight":100,"label":"` + hostile + `"}]},
			"secrets":[{"name":"` + hostile + `"}],"registries":[{"server":"` + hostile + `","identity":"/X/` + hostile + `"}]},
			"template":{"containers":[{"name":"` + hostile + `","image":"` + hostile + `","env":[{"name":"` + hostile + `","value":"` + hostile + `"},{"name":"a","secretRef":"` + hostile + `"}]}]}}}`
	case strings.HasSuffix(path, "/secretReferences"):
		answer = `{"value":[{"name":"` + hostile + `","properties":{"status":"Odd","why":"` + hostile + `","keyVaultUrl":"javascript:` + hostile + `","identity":"/x/` + hostile + `"}}]}`
	case strings.HasSuffix(path, "/revisions"):
		answer = `{"value":[{"name":"` + hostile + `","properties":{"active":true,"replicas":1,"runningState":"Failed","runningStateDetails":"` + hostile + `","labels":["` + hostile + `"],"trafficWeight":100}}]}`
	case strings.HasSuffix(path, "/revisions/r"):
		answer = `{"name":"r","properties":{"active":true,"runningState":"` + hostile + `","fqdn":"` + hostile + `","scaling":{"reason":"` + hostile + `","error":"` + hostile + `","rules":[{"name":"` + hostile + `","type":"` + hostile + `","unit":"` + hostile + `","error":"` + hostile + `"}]}}}`
	case strings.HasSuffix(path, "/replicas"):
		answer = `{"value":[{"name":"` + hostile + `","properties":{"runningState":"Running","runningStateDetails":"` + hostile + `","containers":[{"name":"` + hostile + `","restartCount":3,"runningStateDetails":"` + hostile + `"}]}}]}`
	}
	_, _ = io.WriteString(w, answer)
}

func TestHostileNamesOfContainerAppsStayText(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) { c.API = http.HandlerFunc(containerAPI) })
	f.signIn()
	const at = "/portal/containers/rg/shop"
	for path, want := range map[string]string{
		"/portal/containers": "shop", "/portal/containers?q=%27%22%3Cb%3E&from=-5": "shop", at: "does not run as it should", at + "/revisions": "Where requests go", at + "/revisions/r": `data-label="Restarts">3`,
		at + "/identity": "images of", at + "/secrets": "Not resolved",
	} {
		for _, tag := range []string{"en", "zh-TW"} {
			w := f.do("GET", path, nil, "Accept-Language", tag)
			body := w.Body.String()
			if w.Code != http.StatusOK || strings.Contains(body, "<b>") || strings.Contains(body, `href="javascript`) || strings.Contains(body, "[containers.") || strings.Contains(body, "ZgotmplZ") {
				t.Errorf("%s in %s: %d %s", path, tag, w.Code, body)
			}
			if tag == "en" && !strings.Contains(body, want) {
				t.Errorf("%s does not say %q: %s", path, want, body)
			}
		}
	}
}

func TestWhatARoleForbidsOfContainerAppsIsSaidInWords(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) { c.API = http.HandlerFunc(containerAPI) })
	f.signIn()
	m := proofField.FindStringSubmatch(f.do("GET", "/portal/containers/rg/shop", nil).Body.String())
	if m == nil {
		t.Fatal("the page has no form")
	}
	w := f.do("POST", "/portal/containers/rg/shop/stop", url.Values{"csrf": {m[1]}})
	if body := w.Body.String(); w.Code != http.StatusForbidden || !strings.Contains(body, "Your roles do not allow this") || strings.Contains(body, "<b>allows") {
		t.Errorf("%d %s", w.Code, body)
	}
	if w := f.do("POST", "/portal/containers/rg/shop/stop", url.Values{}); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "roles") {
		t.Errorf("without a proof: %d", w.Code)
	}
}

func TestNoContainerAppsIsSaidInWords(t *testing.T) {
	f := newFixtureWith(t, func(c *Config) {
		c.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":[],"totalRecords":0}`) })
	})
	f.signIn()
	if body := f.do("GET", "/portal/containers", nil).Body.String(); !strings.Contains(body, "latchkey containerapp up") {
		t.Errorf("%s", body)
	}
}
