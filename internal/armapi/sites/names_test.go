package sites_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNamesOfSettingsAreReadWithoutValues, and with the tag that changes them on
// condition that nobody else has.
func TestNamesOfSettingsAreReadWithoutValues(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"B":"the-value-of-b","A":"@Microsoft.KeyVault(VaultName=shop;SecretName=s)"}}`)
	w := f.want(200, "GET", siteAt+"/config/appsettings/names", "")
	if strings.Contains(w.Body.String(), "the-value-of-b") {
		t.Errorf("a value is shown: %s", w.Body)
	}
	body := f.object("GET", siteAt+"/config/appsettings/names", "")
	if diff := cmp.Diff([]any{map[string]any{"name": "A", "reference": true}, map[string]any{"name": "B", "reference": false}}, at(body, "value")); diff != "" {
		t.Error(diff)
	}
	tag, _ := at(body, "etag").(string)
	if w.Header().Get("ETag") != `"`+tag+`"` || tag == "" {
		t.Errorf("tag %q, header %s", tag, w.Header().Get("ETag"))
	}
	f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"B":"2"}}`, "If-Match", `"`+tag+`"`)
	f.want(412, "PUT", siteAt+"/config/appsettings", `{"properties":{"B":"3"}}`, "If-Match", `"`+tag+`"`)
	if at(f.object("POST", siteAt+"/config/appsettings/list", ""), "properties", "B") != "2" {
		t.Error("what was changed meanwhile is lost")
	}
	f.want(404, "GET", strings.Replace(siteAt, "/sites/", "/sites/no", 1)+"/config/appsettings/names", "")
}
