package kubernetes_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/problem"
)

// TestWhatIsPermittedIsAsked: of the API server, about the one verb that the next
// change takes, and nothing is written.
func TestWhatIsPermittedIsAsked(t *testing.T) {
	const missing, there = `{"kind":"Status","code":404,"reason":"NotFound","details":{"kind":"secrets","name":"keys"}}`,
		`{"metadata":{"name":"keys","resourceVersion":"1"},"data":{}}`
	for name, c := range map[string]struct {
		object, answer string
		status         int
		verb           string
		want           error
	}{
		"allowed":        {there, `{"status":{"allowed":true}}`, 201, `"patch"`, nil},
		"denied":         {there, `{"status":{"allowed":false}}`, 201, `"patch"`, problem.Denied},
		"no object yet":  {missing, `{"status":{"allowed":true}}`, 201, `"create"`, nil},
		"nobody answers": {there, `{"kind":"Status","code":404}`, 404, `"patch"`, problem.Unsupported},
		"nonsense":       {there, `[]`, 200, `"patch"`, problem.Unsupported},
		"half an answer": {there, `{}`, 201, `"patch"`, problem.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			var asked string
			answer := func(status int, body string) *http.Response {
				return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
			}
			w := &wire{hook: func(r *http.Request) (*http.Response, error) {
				switch {
				case r.Method == http.MethodGet && c.object == missing:
					return answer(404, missing), nil
				case r.Method == http.MethodGet:
					return answer(200, c.object), nil
				case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
					data, _ := io.ReadAll(r.Body)
					asked = string(data)
					return answer(c.status, c.answer), nil
				}
				t.Errorf("%s %s", r.Method, r.URL)
				return answer(500, "{}"), nil
			}}
			s, err := kubernetes.Open(t.Context(), kubernetes.Config{
				Name: "keys", Access: kubernetes.Access{Server: "https://127.0.0.1:1", Namespace: "shop"}, Transport: w, Clock: clock.Real{},
			})
			if err != nil {
				t.Fatal(err)
			}
			got := s.Probe(t.Context())
			if len(got) != 1 || !errors.Is(got[0].Err, c.want) || !strings.Contains(asked, c.verb) || !strings.Contains(asked, `"shop"`) {
				t.Errorf("%v, asked %s", got, asked)
			}
		})
	}
	folder, err := kubernetes.Open(t.Context(), kubernetes.Config{Dir: t.TempDir()})
	if err != nil || folder.Probe(t.Context()) != nil {
		t.Error("a folder was asked", err)
	}
}
