package arm

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/latchkey/latchkey/internal/authz"
)

// revocable allows everything until it is told not to.
type revocable struct{ gone bool }

func (a *revocable) Allow(context.Context, authz.Request) (authz.Decision, error) {
	return authz.Decision{Allowed: !a.gone, Reason: "no role"}, nil
}

// whileReading does something when it is read for the first time.
type whileReading struct {
	do func()
	io.Reader
}

func (w *whileReading) Read(p []byte) (int, error) {
	if w.do != nil {
		w.do()
		w.do = nil
	}
	return w.Reader.Read(p)
}

func TestARightThatIsLostWhileTheBodyArrivesIsLost(t *testing.T) {
	roles, acted := &revocable{}, false
	api, err := New(Config{Authenticate: authenticate, Authorize: roles}, Operation{Method: "PUT", Pattern: group, Handler: func(c *Call) (Reply, error) {
		if _, err := c.Body(); err != nil {
			return Reply{}, err
		}
		acted = true
		return OK(nil), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range []bool{false, true} {
		acted = false
		body := &whileReading{func() { roles.gone = lost }, strings.NewReader(`{}`)}
		r := httptest.NewRequest("PUT", "https://localhost:7443/subscriptions/s/resourceGroups/g"+version, body)
		r.Header.Set("Authorization", "Bearer owner")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if acted == lost || (w.Code == http.StatusForbidden) != lost {
			t.Errorf("right lost %v: acted %v, answered %d %s", lost, acted, w.Code, w.Body)
		}
	}
}

// serving serves an operation on a real connection and gives its address.
func serving(t *testing.T, bodyTime time.Duration, h Handler) string {
	t.Helper()
	api, err := New(Config{Authenticate: authenticate, Authorize: &revocable{}, BodyTime: bodyTime}, Operation{Method: "PUT", Pattern: group, Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close)
	return srv.URL + "/subscriptions/s/resourceGroups/g" + version
}

// put sends what a reader gives, which may never end.
func put(t *testing.T, url string, body io.Reader) (status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer owner")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestABodyThatNeverEndsIsGivenUp(t *testing.T) {
	url := serving(t, 50*time.Millisecond, func(c *Call) (Reply, error) {
		_, err := c.Body()
		return OK(nil), err
	})
	r, w := io.Pipe()
	defer w.Close()
	if got := put(t, url, r); got != http.StatusRequestTimeout {
		t.Errorf("got %d", got)
	}
	if got := put(t, url, strings.NewReader("{}")); got != http.StatusOK {
		t.Errorf("a body that arrives gets %d", got)
	}
}

// The bound is for the body: an operation may take longer than its body.
func TestAnOperationMayTakeLongerThanItsBody(t *testing.T) {
	url := serving(t, 50*time.Millisecond, func(c *Call) (Reply, error) {
		_, err := c.Body()
		select {
		case <-c.Context().Done():
			return Reply{}, c.Context().Err()
		case <-time.After(200 * time.Millisecond):
			return OK(nil), err
		}
	})
	if got := put(t, url, strings.NewReader("{}")); got != http.StatusOK {
		t.Errorf("got %d", got)
	}
}

func TestAPackageThatNeverEndsIsGivenUp(t *testing.T) {
	seen := make(chan error, 1)
	url := serving(t, 0, func(c *Call) (Reply, error) {
		_, err := io.Copy(io.Discard, c.Arriving(50*time.Millisecond))
		seen <- err
		return NoContent(), nil
	})
	r, w := io.Pipe()
	defer w.Close()
	put(t, url, r)
	if err := <-seen; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
