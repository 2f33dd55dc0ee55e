package witness

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// logStream replays how clients follow what an app writes, by its deployment address:
// with a token or, as az webapp log tail does, with the publishing password.
func (r replay) logStream(t *testing.T, path string, password bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.names.Replace("{scm}")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token(t))
	if password {
		creds := r.do(t, "POST", r.names.Replace("{site}/config/publishingcredentials/list?api-version=2023-01-01"), "")
		req.SetBasicAuth(creds.text("properties.publishingUserName"), creds.text("properties.publishingPassword"))
	}
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	seen := ""
	for !strings.Contains(seen, "the app runs") && lines.Scan() {
		seen += lines.Text() + "\n"
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(seen, "Welcome, you are now connected to log-streaming service.") || !strings.Contains(seen, " [Information] the app runs") {
		t.Errorf("%s: %s, %v:\n%s", path, resp.Status, lines.Err(), seen)
	}
}
