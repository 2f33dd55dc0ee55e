package platform_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestADamagedDocumentOfOneAppDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	up := platformtest.Upstream(t, saying("hello"))
	for _, name := range []string{"orders", "broken"} {
		p.CreateApp(t, name, up)
		p.Deploy(t, name, platformtest.Package(t, []string{"f"}, nil))
	}
	_, key := p.HostKeys(t, "orders")
	p.Stop(t)
	damage(t, filepath.Join(p.Config.DataDir, "state.db"), "/resources/microsoft.web/sites/subscriptions/", "/sites/broken")
	p.Restart(t)
	if status, body := p.Call(t, "orders", "/api/f", key); status != http.StatusOK || body != "hello" {
		t.Errorf("the other app: %d %q", status, body)
	}
	if err := p.Client.Do(t.Context(), http.MethodGet, p.Site("broken"), nil, nil); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("the damaged one: %v", err)
	}
}

// damage spoils the document below a prefix whose key has an ending.
func damage(t *testing.T, path string, prefix state.Key, ending string) {
	t.Helper()
	s, err := bolt.Open(t.Context(), path, clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.List(t.Context(), prefix, state.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range list.Documents {
		if strings.HasSuffix(string(doc.Key), ending) {
			doc.Value[len(doc.Value)/2] ^= 1
			if _, err := s.Write(t.Context(), state.Put(doc.Key, doc.Value, doc.Revision)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is no such document")
}
