package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/scale/queue"
)

// Who writes a rule says where its token goes; that must not be anywhere.
func TestATokenIsNotGotForAHostThatIsNotAllowed(t *testing.T) {
	var hosts []string
	r := queue.New(queue.Config{
		Address: func(account string) string {
			return map[string]string{"known": "http://127.0.0.1:1/known"}[account]
		},
		Allow: func(_ context.Context, app, identity, host string) error {
			hosts = append(hosts, app+" "+identity+" "+host)
			return problem.New(problem.Denied, "not there").WithNext("use another one")
		},
		Token: func(context.Context, string, string, string) (string, time.Time, error) {
			t.Error("a token was got")
			return "", time.Time{}, problem.New(problem.Internal, "none")
		}})
	for _, suffix := range []string{"evil.example", ""} {
		_, err := r.Length(t.Context(), scale.Queue{App: "/a", Rule: "q", Account: "acct", Endpoint: suffix, Name: "orders", Identity: "system"})
		if problem.KindOf(err) != problem.Denied || problem.NextOf(err) != "use another one" {
			t.Errorf("%q: %v", suffix, err)
		}
	}
	if got := strings.Join(hosts, ","); got != "/a system acct.evil.example,/a system acct.queue.core.windows.net" {
		t.Error(got)
	}
}
