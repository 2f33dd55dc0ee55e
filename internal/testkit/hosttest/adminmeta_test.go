package hosttest_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/testkit"
)

func TestAnswersAboutPlainKeysAreThoseOfTheStockHost(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: threeLevels()})
	master := h.Master(t)
	get := func(path string) string {
		t.Helper()
		return string(h.Send(t, testkit.Request{Method: "GET", Path: path, Key: master}).WantStatus(t, 200).Body)
	}
	h.Send(t, testkit.Request{Method: "PUT", Path: "/admin/host/keys/k", Key: master, Body: `{"name":"k","value":"secret"}`}).WantStatus(t, 201)
	link := `"links":[{"rel":"self","href":"` + h.Base
	if got, want := get("/admin/host/keys/k"), `{"name":"k","value":"secret",`+link+`/admin/host/keys/k"}]}`; got != want {
		t.Errorf("a plain key: %s, want %s", got, want)
	}
	if got := get("/admin/host/keys"); !strings.HasSuffix(got, `{"name":"k","value":"secret"}],`+link+`/admin/host/keys"}]}`) {
		t.Errorf("plain keys: %s", got)
	}
	_, err := h.Node.Keys().SetMeta(t.Context(), keyring.HostKeys(), "k", func(m *accesskey.Meta) error {
		m.Owner, m.Disabled = "ann", true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	more := `{"name":"k","value":"secret","state":"disabled","owner":"ann","disabled":true`
	if got, want := get("/admin/host/keys/k"), more+`,`+link+`/admin/host/keys/k"}]}`; got != want {
		t.Errorf("a key with restrictions: %s, want %s", got, want)
	}
	if got := get("/admin/host/functionkeys"); !strings.Contains(got, more+"}") {
		t.Errorf("keys with restrictions: %s", got)
	}
}
