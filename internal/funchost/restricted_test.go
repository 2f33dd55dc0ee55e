package funchost

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/keyring"
)

// restrict changes the metadata of the host key default.
func (r *rig) restrict(t *testing.T, change func(*accesskey.Meta)) {
	t.Helper()
	_, err := r.keys.SetMeta(t.Context(), keyring.HostKeys(), "default", func(m *accesskey.Meta) error {
		change(m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeyOfOneMethodOpensWithThatMethodOnly(t *testing.T) {
	r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
	r.restrict(t, func(m *accesskey.Meta) { m.Methods = []string{"POST"} })
	for method, want := range map[string]int{"GET": 401, "POST": 200, "post": 200, "": 401} {
		w := r.serve(t, func(req *http.Request) { req.Method = method })
		if w.Code != want {
			t.Errorf("%q: %d, want %d", method, w.Code, want)
		}
		if want == 401 && w.Body.Len() > 0 {
			t.Errorf("%q: the answer says %q", method, w.Body)
		}
	}
}

func TestUsedUpKeyGets429UntilItMayBeUsedAgain(t *testing.T) {
	tests := []struct {
		name   string
		change func(*accesskey.Meta)
		wait   string
		text   string
	}{
		{"rate", func(m *accesskey.Meta) { m.Rate = accesskey.Rate{N: 1, Per: time.Minute} }, "60",
			"the key is used more often than its rate allows"},
		{"quota", func(m *accesskey.Meta) { m.Quota = accesskey.Quota{N: 1, Per: accesskey.Day} }, "86400",
			"the key has used up its quota of this period"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
			r.restrict(t, tt.change)
			if w := r.serve(t, nil); w.Code != 200 {
				t.Fatalf("first: %d", w.Code)
			}
			w := r.serve(t, nil)
			if w.Code != 429 || w.Header().Get("Retry-After") != tt.wait || w.Body.Len() > 0 {
				t.Errorf("%d, Retry-After %q, body %q", w.Code, w.Header().Get("Retry-After"), w.Body)
			}
			d := r.keys.Authorize(t.Context(), keyring.Request{Key: r.key(t)})
			if got := throttleText(d); got != tt.text {
				t.Errorf("the operator reads %q", got)
			}
		})
	}
}

// TestFunctionsNeverSeeAKeyThatIsSwitchedOff: it may be switched on again.
func TestFunctionsNeverSeeAKeyThatIsSwitchedOff(t *testing.T) {
	r := newRig(t, &fakeWorker{forwards: true}, funcapp.HostConfig{}, nil)
	if _, err := r.keys.Disable(t.Context(), keyring.HostKeys(), "default"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]bool{"code=" + r.key(t): true, "code=mine": false} {
		req := httptest.NewRequest("GET", "/api/f?"+query, nil)
		x := &exchange{r: req, f: r.front}
		x.decision = r.keys.Authorize(t.Context(), keyring.Request{Key: req.URL.Query().Get("code"), Method: "GET"})
		if x.decision.Level != keyring.Anonymous || x.carriesKey() != want {
			t.Errorf("%v: carries a key: %v", x.decision.Reason, x.carriesKey())
		}
	}
}
